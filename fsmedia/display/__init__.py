"""What people see: notebook views, thumbnails, waveforms, and the media of the sample run."""
