"""Features: waveforms to network inputs and targets, and network outputs to spectra."""
