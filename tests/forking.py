"""Jobs in processes forked off one that has done the slow imports already."""

import json
import os
import sys
import traceback


def serve(run):
    """Reads lines of JSON, each a list of jobs that go on at the same time; writes a line with their exit statuses.

    Args:
        run: Called with a job in its process, in the job's folder and environment, its output going to the job's file;
            returns the exit status.
    """
    for line in sys.stdin:
        processes = [_fork(run, job) for job in json.loads(line)]
        statuses = [os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) for process in processes]
        print(json.dumps(statuses), flush=True)


def _fork(run, job):
    process = os.fork()
    if process:
        return process
    os.chdir(job["folder"])
    os.environ.update(job.get("environment", {}))
    os.dup2(os.open(job["output"], os.O_CREAT | os.O_WRONLY | os.O_TRUNC), 2)
    os.dup2(2, 1)
    try:
        status = run(job)
    except BaseException:
        traceback.print_exc()
        status = 2
    sys.stdout.flush()
    sys.stderr.flush()
    # Not sys.exit: this process inherits the reading of the next line.
    os._exit(status)
