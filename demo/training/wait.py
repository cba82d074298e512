"""Hold a slot for a while: what the demo runs where it shows stops, queues and cancellations."""

import sys
import time

for second in range(int(sys.argv[1])):
    print(f"second {second}", flush=True)
    time.sleep(1)
