"""What a running stage needs of its machine: devices, processes, signals, the scheduler, progress, seeds."""
