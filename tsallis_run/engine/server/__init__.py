"""vLLM's own servers as generation workers.

engine          the Engine: what the run calls
client          many completions in flight over HTTP; lost ones are asked for again
answers         a server's JSON -> completions, or an error where it is nonsense
control         a server's own calls: sign of life, new weights, cache
supervisor      keeps the workers of this machine alive and at the newest weights
worker_process  one worker as this process sees it: started, watched by its log and status, killed
worker          one worker from inside: vLLM's server, ended with the run
weight_transfer one worker from inside: takes weights from shared memory
shared_weights  the weights in memory that the processes of a machine share
nccl            weights to servers on other machines
presence        are given servers there? asked before anything heavy starts
addresses       where the workers can be reached just now, for every rank of the machine
"""
