"""Several Python threads at once."""

import threading


def in_threads(count, work):
    """Call work(0) to work(count - 1), each in a thread of its own, and wait for all."""
    workers = [threading.Thread(target=work, args=(k,)) for k in range(count)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
