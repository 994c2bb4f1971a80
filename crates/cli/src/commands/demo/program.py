# What `rekindle demo` saves and brings back: four threads that count and hash, and 64 MiB of random bytes.
# Keep it in step with program.rs, which does the same where there is no python3.
import hashlib, os, signal, sys, threading, time

THREADS, BURST, MEMORY = 4, 1000, 64 << 20
parent = int(sys.argv[1])
ending = threading.Event()
signal.signal(signal.SIGTERM, lambda number, frame: ending.set())

memory = bytearray(os.urandom(MEMORY))
digest = hashlib.sha256(memory).digest()

# For each thread: how far it has counted, and the hash of all the numbers so far (FNV-1a, a number at a time).
state = [(0, 0xCBF29CE484222325 + index) for index in range(THREADS)]


def work(index):
    count, value = state[index]
    while not ending.is_set():
        for count in range(count + 1, count + 1 + BURST):
            value = ((value ^ count) * 0x100000001B3) & 0xFFFFFFFFFFFFFFFF
        state[index] = (count, value)
        time.sleep(0.001)


threads = [threading.Thread(target=work, args=(index,)) for index in range(THREADS)]
for thread in threads:
    thread.start()

# Standard output is a file, opened once: both halves of its life write to it.
while not ending.wait(0.01):
    print(" ".join(f"{count}:{value:x}" for count, value in list(state)), flush=True)
    if os.getppid() != parent:  # the demo is gone
        ending.set()
for thread in threads:
    thread.join()
print("memory same" if hashlib.sha256(memory).digest() == digest else "memory changed", flush=True)
