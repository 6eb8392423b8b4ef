"""From waveforms to what a network sees and predicts, and back to a spectrum."""
