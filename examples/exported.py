"""Denoise a recording with a network that `denoise export` wrote, without the denoise package.

    python exported.py MODEL NOISY.wav ENHANCED.wav

MODEL is a .tflite file (needs ai-edge-litert), a .onnx file (onnxruntime) or a SavedModel folder
(tensorflow); NumPy and soundfile besides.  Everything else stands in the metadata of the model.

The network gets the recording as a whole, or in parts of as many frames as it takes.  `denoise
enhance` gives a network that looks ahead windows of 8 s with reflected ends and cross-fades them,
so its output differs a little and is better at the seams of such parts. For a causal network, the
output of `denoise stream` is the same.
"""

import json
import sys
import zipfile
from pathlib import Path

import numpy as np
import soundfile


def load(path):
    """The metadata, and a function from the inputs, a list of arrays, to the list of outputs."""
    if path.suffix == ".tflite":
        from ai_edge_litert.interpreter import Interpreter

        with zipfile.ZipFile(path) as package:
            about = json.loads(package.read("denoise.json"))
        runner = Interpreter(str(path)).get_signature_runner()
        names = list(runner.get_input_details())
        return about, lambda given: in_order(
            runner(**dict(zip(in_order_of(names, about), given, strict=True)))
        )
    if path.suffix == ".onnx":
        import onnxruntime

        session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        about = json.loads(session.get_modelmeta().custom_metadata_map["denoise"])
        names = [each.name for each in session.get_inputs()]
        return about, lambda given: session.run(None, dict(zip(names, given, strict=True)))
    import tensorflow as tf

    about = json.loads((path / "assets.extra" / "denoise.json").read_text())
    loaded = tf.saved_model.load(str(path))
    many = len(about["inputs"]) > 1
    return about, lambda given: as_list(loaded.serve(given if many else given[0]))


def in_order_of(names, about):
    """LiteRT sorts the names of the inputs."""
    return sorted(names, key=[*about["input_names"], *names].index)


def in_order(outputs):
    """LiteRT names the outputs output_0, output_1, …"""
    return [outputs[name] for name in sorted(outputs, key=lambda name: int(name.split("_")[-1]))]


def as_list(outputs):
    outputs = outputs if isinstance(outputs, (list, tuple)) else [outputs]
    return [np.asarray(output) for output in outputs]


def hann(n_fft):
    return (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(n_fft) / n_fft)).astype(np.float32)


def stft(wave, n_fft, hop):
    """[shape=(n_fft // 2 + 1, frames)]"""
    padded = np.pad(wave, n_fft // 2)
    frames = np.lib.stride_tricks.sliding_window_view(padded, n_fft)[::hop]
    return np.fft.rfft(frames * hann(n_fft)).T


def istft(spectrum, n_fft, hop, samples):
    window = hann(n_fft)
    wave = np.zeros(n_fft + max(hop * (spectrum.shape[1] - 1), samples))
    weight = np.zeros_like(wave)
    for number, frame in enumerate(np.fft.irfft(spectrum.T, n_fft)):
        part = slice(number * hop, number * hop + n_fft)
        wave[part] += frame * window
        weight[part] += window**2
    return (wave / np.where(weight > 1e-8, weight, 1))[n_fft // 2 :][:samples].astype(np.float32)


def encode(spectrum, features):
    """What the network sees [shape=(1, bins, frames, 3)]: compressed magnitude, real, imaginary."""
    reference = features["reference_magnitude"]
    if features["reference"] != "absolute":
        reference = max(np.abs(spectrum).max(), 1e-6)
    seen = spectrum[: features["bins"]]
    size = (np.abs(seen) / reference) ** features["compression"]
    turned = size * np.exp(1j * np.angle(seen))
    return np.stack([size, turned.real, turned.imag], -1)[None].astype(np.float32)


def decode(output, spectrum):
    """The magnitude mask and phase correction, applied; the bins above get the highest gain."""
    mask, real, imaginary = np.moveaxis(np.clip(output[0], -1, 1), -1, 0)
    correction = 1 + real + 1j * imaginary
    gain = (mask + 1) / 2 * correction / np.maximum(np.abs(correction), 1e-3)
    unseen = len(spectrum) - len(gain)
    return spectrum * np.concatenate([gain, np.repeat(gain[-1:], unseen, axis=0)])


def main(model, source, target):
    about, run = load(Path(model))
    features = about["features"]
    if (features["input"], features["target"]) != (
        "compressed_complex",
        "mask_and_phase_correction",
    ):
        sys.exit("this example knows the features of the presets best and stream only")
    wave, rate = soundfile.read(source, dtype="float32", always_2d=True)
    if rate != about["rate"]:
        sys.exit(f"{source} has {rate} Hz, the network needs {about['rate']} Hz")
    if wave.shape[1] > 1:
        print(f"{source} has {wave.shape[1]} channels: the first is taken", file=sys.stderr)
    n_fft, hop = about["stft"]["n_fft"], about["stft"]["hop"]
    spectrum = stft(wave[:, 0], n_fft, hop)
    inputs = encode(spectrum, features)
    # A stream goes on from its states; else the network sees as many frames as it takes.
    states = [np.zeros(shape, np.float32) for shape in about["inputs"][1:]]
    count = about["inputs"][0][2] or inputs.shape[2]
    outputs = []
    for start in range(0, inputs.shape[2], count):
        frames = inputs[:, :, start : start + count]
        missing = count - frames.shape[2]
        frames = np.pad(frames, ((0, 0), (0, 0), (0, missing), (0, 0)))
        output, *states = run([frames, *states])
        outputs.append(output[:, :, : count - missing])
    enhanced = decode(np.concatenate(outputs, axis=2), spectrum)
    soundfile.write(target, istft(enhanced, n_fft, hop, len(wave)), rate, subtype="FLOAT")


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit("usage: python exported.py MODEL NOISY.wav ENHANCED.wav")
    main(*sys.argv[1:])
