"""What others emit, taken into a store; with the real packages of those others."""
