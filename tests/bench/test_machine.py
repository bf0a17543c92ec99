import json
import os
import platform
import socket
from pathlib import Path

import torch

from dilsearch.bench.machine import describe_machine
from dilsearch.bench.suite import Settings


def test_the_machine_in_words_that_do_not_name_it() -> None:
    settings = Settings(device=torch.device("cpu"), contestants=("native",), rounds=7)
    machine = describe_machine(settings, quick=True)
    assert machine["device"] == "cpu"
    assert machine["cpu"]
    assert machine["gpu"] is None
    assert machine["cores"] == os.cpu_count()
    assert machine["threads"] == torch.get_num_threads()
    assert machine["versions"]["torch"] == torch.__version__
    assert machine["python"] == platform.python_version()
    assert (machine["rounds"], machine["precision"], machine["quick"]) == (7, "float32", True)
    text = json.dumps(machine)
    assert socket.gethostname() not in text
    assert str(Path.home()) not in text
    assert os.getcwd() not in text
