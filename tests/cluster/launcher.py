"""What `mpirun -n N COMMAND` does on one machine, for tests: `launcher.py N COMMAND`."""

import subprocess
import sys

if __name__ == "__main__":
    ranks = [subprocess.Popen(sys.argv[2:]) for _ in range(int(sys.argv[1]))]
    sys.exit(max(rank.wait() for rank in ranks))
