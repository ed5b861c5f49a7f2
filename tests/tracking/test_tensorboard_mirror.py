from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path

import pytest
from tensorboardX.proto.event_pb2 import Event, SessionLog

from tsallis_run.tracking.alarms import Alarm
from tsallis_run.tracking.records import RunFolder
from tsallis_run.tracking.tensorboard_mirror import TensorBoardMirror

ROWS = [
    {"step": 0, "split": "validation", "maj@16": 0.0, "num_examples": 32},
    {"step": 1, "split": "train", "phase": "garl", "loss": 0.5, "log_p_hat": -33.5},
    {"step": 2, "split": "train", "phase": "garl", "loss": 0.25, "log_p_hat": -32.5},
    {"step": 2, "split": "validation", "maj@16": 0.75, "num_examples": 32},
    {"step": 2, "split": "test", "maj@16": 0.5, "num_examples": 128},
]


def read_events(path: Path) -> Iterator[Event]:
    """TFRecord framing: length (8 bytes), its checksum (4), the event, its checksum (4)."""
    data, at = path.read_bytes(), 0
    while at < len(data):
        (length,) = struct.unpack_from("<Q", data, at)
        yield Event.FromString(data[at + 12 : at + 12 + length])
        at += 16 + length


def curves(folder: RunFolder) -> dict[str, list[tuple[int, float]]]:
    """Name -> (step, value) of every file."""
    found: dict[str, list[tuple[int, float]]] = {}
    for file in sorted(folder.tensorboard.iterdir()):
        for event in read_events(file):
            for value in event.summary.value:
                if value.HasField("simple_value"):
                    found.setdefault(value.tag, []).append((event.step, value.simple_value))
    return found


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    return RunFolder(tmp_path)


def test_every_number_of_every_row_is_a_point_of_a_curve_named_as_at_wandb(folder):
    warnings = []
    mirror = TensorBoardMirror(folder, step=0, warn=warnings.append)
    for row in ROWS:
        mirror.log(row)
    mirror.finish({"best_step": 2})
    assert curves(folder) == {
        "validation/maj@16": [(0, 0.0), (2, 0.75)],
        "validation/num_examples": [(0, 32.0), (2, 32.0)],
        "train/loss": [(1, 0.5), (2, 0.25)],
        "weights/log_p_hat": [(1, -33.5), (2, -32.5)],
        "test/maj@16": [(2, 0.5)],
        "test/num_examples": [(2, 128.0)],
    }
    assert warnings == []


def test_a_row_is_in_the_file_when_log_returns(folder):
    mirror = TensorBoardMirror(folder, step=0, warn=pytest.fail)
    mirror.log(ROWS[1])
    assert curves(folder)["train/loss"] == [(1, 0.5)]
    mirror.finish({})


def test_an_alarm_is_a_text(folder):
    mirror = TensorBoardMirror(folder, step=0, warn=pytest.fail)
    mirror.alarm(Alarm("collapse", 50, "validation collapses", "0.1 after 0.4", "it forgets", "estimator=paft"))
    mirror.finish({})
    (file,) = folder.tensorboard.iterdir()
    (text,) = [(event.step, value) for event in read_events(file) for value in event.summary.value]
    assert (text[0], text[1].tag) == (50, "alarms/collapse/text_summary")
    assert text[1].tensor.string_val[0].decode().startswith("ALARM at step 50: validation collapses\n")


def test_a_resumed_run_adds_a_file_that_takes_the_place_of_what_lies_after_its_step(folder):
    TensorBoardMirror(folder, step=0, warn=pytest.fail).finish({})
    TensorBoardMirror(folder, step=100, warn=pytest.fail).finish({})
    starts = [
        event.step
        for file in folder.tensorboard.iterdir()
        for event in read_events(file)
        if event.session_log.status == SessionLog.START
    ]
    assert sorted(starts) == [1, 101]


def test_a_folder_that_cannot_be_written_warns_once_and_stops_nothing(folder):
    folder.tensorboard.write_text("in the way")
    warnings = []
    mirror = TensorBoardMirror(folder, step=0, warn=warnings.append)
    for row in ROWS:
        mirror.log(row)
    mirror.finish({})
    (warning,) = warnings
    assert warning.startswith("TensorBoard mirror stopped (FileExistsError")
    assert warning.endswith("; the run goes on, metrics.jsonl has every row")


def test_a_disk_that_fills_up_warns_once_and_stops_nothing(folder, monkeypatch):
    warnings = []
    mirror = TensorBoardMirror(folder, step=0, warn=warnings.append)
    monkeypatch.setattr("tensorboardX.RecordWriter.write", lambda self, data: _no_space())
    for row in ROWS:
        mirror.log(row)
    mirror.finish({})
    assert warnings == [
        "TensorBoard mirror stopped (OSError: [Errno 28] No space left on device); "
        "the run goes on, metrics.jsonl has every row"
    ]


def _no_space():
    raise OSError(28, "No space left on device")
