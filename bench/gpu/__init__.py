"""Everything a machine with an NVIDIA GPU can tell, most valuable first: `make gpu`, or `python -m bench.gpu`.

Does every kernel load; is each kind of kernel right, thrice, with the same bits, from poisoned memory; are all
operations; do recorded steps train as eager ones and as the CPU; do kernels stay within their memory; how fast is what
matters, beside torch; which configurations are best; what do the counters say of the slowest. `stages.py` has the order
and the time of each.

    processes.py  jobs are done by processes, within limits: what hangs, crashes or loses the context costs its own job
    record.py     results, one JSON object a line, appended as they come; a job that went well is not done again
    worker.py     the process that does the jobs: kinds.py, training.py, speed.py, tuning.py
    driver.py     the few calls of the CUDA driver that measuring needs and dlcore does not
    merge.py      results into bench/results/<GPU>/, winners of the tuner into dlcore/kernels/configurations/
    bundle.py     `make gpu-bundle`: all of it for a machine with no network and no compiler (run.sh, start.py)

None of it has run on hardware yet, only against a driver that no GPU is behind (--dry-run): there kernels do not run,
so values are not judged; what is asked of the driver and of the packs is.
"""
