"""Augmented windows have what is asked for, and the same in every run."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from conftest import hiss
from made import train_into, write_cache
from scipy import signal

from denoise import audio
from denoise.core.arrays import PackWriter
from denoise.core.tables import read_table, write_table
from denoise.features.settings import FeatureSettings
from denoise.features.stft import StftSettings
from denoise.mixing import effects
from denoise.mixing.augmentation import AugmentationSettings, Mixer, _shifted
from denoise.mixing.draw import draw_windows
from denoise.mixing.effects import (
    excite_harmonics,
    filter_randomly,
    mask_band,
    perturb_speed,
    reverberate,
    shaped_noise,
)
from denoise.mixing.files import Recordings
from denoise.mixing.levels import set_levels
from denoise.mixing.render import Packs, render
from denoise.mixing.settings import MixingSettings
from denoise.networks.unet import UNetSettings
from denoise.training.batches import open_batches
from denoise.training.settings import TrainingSettings

RATE, WINDOW = 8000, 2048
TONES = {"low": 500.0, "middle": 1000.0, "high": 2000.0}
FEATURES = FeatureSettings(stft=StftSettings(n_fft=63, hop=16), floor_db=-60, dtype="float32")


@pytest.fixture(scope="module")
def table(tmp_path_factory) -> pd.DataFrame:
    """Windows of three speakers, who hum a tone each, in hiss of three recordings."""
    root = tmp_path_factory.mktemp("sources")
    time = np.arange(3 * RATE) / RATE
    waves = {
        "speech": {who: 0.1 * np.sin(2 * np.pi * tone * time) for who, tone in TONES.items()},
        "noise": {f"n{k}": hiss(1.5, RATE, k) * (0.5 + k) for k in range(3)},
    }
    tables = []
    for role, recordings in waves.items():
        (root / role).mkdir()
        writer = PackWriter(root / role / "audio.npy")
        tables.append(
            pd.DataFrame(
                {
                    "source": str(root / role / "audio.npy"), "id": who, "sex": "",
                    "noise_type": "hiss",
                    "speaker": who if role == "speech" else "", "group": who, "snr": np.nan,
                    "split": "train", "validation_windows": 0.0, "noisy_offset": -1,
                    "offset": writer.append(wave.astype(np.float32)), "samples": len(wave),
                    "level": audio.rms(wave),
                }
                for who, wave in recordings.items()
            )
        )  # fmt: skip
        writer.close()
    chosen = MixingSettings(segment=WINDOW, speech_stride=WINDOW, noise_stride=100, snr_db=(0, 10))
    drawn = draw_windows(Recordings(*tables[:2]), chosen, "train", RATE, 0)
    return set_levels(drawn, RATE, 0)


def mixed(table, **settings) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """All windows of an epoch: noisy, clean and, undoing what scaled both, the noise."""
    waves = Mixer(table, RATE, AugmentationSettings(**settings)).batch(np.arange(len(table)), 1)
    noisy, clean = np.moveaxis(waves.astype(float), 2, 0)
    return noisy, clean, noisy - clean


def level(waves: np.ndarray) -> np.ndarray:
    return 10 * np.log10(np.mean(np.square(waves), axis=-1))


def test_without_settings_or_epoch_windows_are_not_augmented(table):
    packs = Packs([*table["speech_source"], *table["noise_source"]])
    chosen = np.array([3, 0, 5])
    rows = table.to_dict("records")
    expected = [np.stack(render(rows[number], packs, RATE), -1) for number in chosen]
    plain = Mixer(table, RATE).batch(chosen, 4)
    varied = Mixer(table, RATE, AugmentationSettings(random_filter=1)).batch(chosen)
    np.testing.assert_array_equal(plain, np.stack(expected))
    np.testing.assert_array_equal(varied, np.stack(expected))


def test_a_window_is_reproducible_within_an_epoch_and_differs_in_the_next(table):
    settings = AugmentationSettings(
        snr_range_db=(-5, 20), shift=500, gain_range_db=(-10, 5), random_filter=0.5,
        second_noise=0.5, babble=0.3, shaped_noise=0.3, band_mask=0.2, harmonic_excitation=0.5,
        speech_speed_perturbation=(0.8, 1.25), noise_speed_perturbation=(0.5, 2),
        reversed_noise=0.5, spectrum_transfer=0.5, transients=0.5, reverberation=0.5,
    )  # fmt: skip
    mixer = Mixer(table, RATE, settings)
    together = mixer.batch(np.array([4, 2, 1]), 7)
    alone = Mixer(table, RATE, settings).batch(np.array([2]), 7)
    np.testing.assert_array_equal(together[1], alone[0])
    assert np.abs(mixer.batch(np.array([2]), 8) - alone).max() > 0.01
    assert np.isfinite(together).all()
    assert np.abs(together).max() <= 0.9901


@pytest.mark.parametrize("kind", [{}, {"babble": 1}, {"shaped_noise": 1}, {"second_noise": 1},
                                  {"random_filter": 1}, {"noise_speed_perturbation": (0.7, 0.9)},
                                  {"reversed_noise": 1}, {"spectrum_transfer": 1},
                                  {"transients": 1}, {"reverberation": 1}])  # fmt: skip
def test_noise_has_the_target_snr(table, kind):
    _, clean, noise = mixed(table, snr_range_db=(4, 4), **kind)
    np.testing.assert_allclose(level(clean) - level(noise), 4, atol=0.05)
    own = mixed(table, snr_range_db=(4, 4))[2]
    if kind:
        assert np.abs(noise - own).max() > 0.01


def test_without_an_snr_range_the_snr_of_the_table_is_used(table):
    _, clean, noise = mixed(table, shaped_noise=1)
    np.testing.assert_allclose(level(clean) - level(noise), table["snr"], atol=0.05)


def test_snrs_are_drawn_evenly_from_the_range(table):
    many = pd.concat([table] * 12).assign(id=[f"w{k}" for k in range(12 * len(table))])
    _, clean, noise = mixed(many, snr_range_db=(-5, 15))
    drawn = level(clean) - level(noise)
    assert -5.1 < drawn.min() < -3 and 13 < drawn.max() < 15.1
    # Three standard errors of the mean of an even distribution.
    assert drawn.mean() == pytest.approx(5, abs=3 * 20 / math.sqrt(12 * len(drawn)))


def test_the_gain_applies_to_both_noisy_and_clean(table):
    plain, louder = (mixed(table, gain_range_db=(gain, gain), shaped_noise=0.5)[:2]
                     for gain in (-1, -7))  # fmt: skip
    for before, after in zip(plain, louder, strict=True):
        np.testing.assert_allclose(before * 10 ** (-6 / 20), after, atol=1e-6)


def test_babble_comes_from_other_speakers(table):
    _, _, noise = mixed(table, babble=1)
    power = np.abs(np.fft.rfft(noise)) ** 2
    for row, spectrum in zip(table.to_dict("records"), power, strict=True):
        own = round(TONES[row["speaker"]] * WINDOW / RATE)
        assert spectrum[own - 2 : own + 3].sum() < 0.01 * spectrum.sum()


def test_shifted_windows_stay_in_their_recording_and_maximum_shift(table):
    mixer = Mixer(table, RATE, AugmentationSettings(shift=700))
    starts = {}
    for row in table.to_dict("records"):
        rng = np.random.default_rng(0)
        places = [_shifted(row, 700, rng) for _ in range(200)]
        moves = [place["speech_offset"] - row["speech_offset"] for place in places]
        assert all(p["speech_start"] - row["speech_start"] == m
                   for p, m in zip(places, moves, strict=True))  # fmt: skip
        assert min(p["speech_offset"] for p in places) >= 0
        assert max(p["speech_offset"] for p in places) <= row["recording_samples"] - WINDOW
        starts[row["id"]] = (min(moves), max(moves))
    assert min(low for low, _ in starts.values()) < -650
    assert max(high for _, high in starts.values()) > 650
    assert all(low >= -700 and high <= 700 for low, high in starts.values())
    assert mixer.batch(np.array([1]), 3).shape == (1, WINDOW, 2)


def test_speech_at_another_speed_has_another_pitch(table):
    many = pd.concat([table] * 4).assign(id=[f"w{k}" for k in range(4 * len(table))])
    _, clean, _ = mixed(many, speech_speed_perturbation=(0.8, 1.25))
    middle = clean[:, 200:-200] * np.hanning(WINDOW - 400)
    found = np.abs(np.fft.rfft(middle, 16 * WINDOW)).argmax(axis=1) * RATE / (16 * WINDOW)
    speed = found / many["speaker"].map(TONES).to_numpy()
    assert 0.79 < speed.min() < 0.85 and 1.18 < speed.max() < 1.26
    # As many faster as slower, within three standard errors.
    assert abs(np.log2(speed).mean()) < 3 * np.log2(1.25) / math.sqrt(3 * len(speed))


def test_paired_speech_and_noise_get_the_same_speed(table):
    row = table.iloc[0].to_dict()
    mixer = Mixer(table, RATE, AugmentationSettings(speech_speed_perturbation=(0.8, 0.8),
                                                    noise_speed_perturbation=(2, 2)))  # fmt: skip
    paired = {**row, "paired": True, "noise_source": row["speech_source"],
              "noise_start": row["speech_start"]}  # fmt: skip
    noisy, clean = mixer._varied(paired, 0)
    # The noise of this pair is the speech less itself: nothing, as long as both go on together.
    np.testing.assert_allclose(noisy, clean, atol=1e-6)


@pytest.mark.parametrize("speed", [0.5, 0.8, 1, 1.25, 2])
def test_speed_perturbation_scales_the_frequency_of_a_tone(speed):
    time = np.arange(round(4000 * speed))
    played = perturb_speed(np.sin(2 * np.pi * 0.02 * time).astype(np.float32), 4000)
    expected = np.sin(2 * np.pi * 0.02 * speed * np.arange(4000))
    assert played.shape == (4000,)
    np.testing.assert_allclose(played[100:-100], expected[100:-100], atol=2e-3)


def test_harmonic_excitation_adds_overtones_of_the_speech_alone():
    rng = np.random.default_rng(0)
    time = np.arange(32_000) / 16_000
    tone = np.sin(2 * np.pi * 2000 * time)
    added = excite_harmonics(tone, rng) - tone
    power = np.abs(np.fft.rfft(added[2000:-2000] * np.hanning(28_000))) ** 2
    frequency = np.fft.rfftfreq(28_000, 1 / 16_000)
    overtone = np.min(np.abs(frequency[:, None] - [4000, 8000]), axis=1) < 20
    assert power[overtone].sum() > 0.99 * power.sum()
    share = [level(excite_harmonics(tone, np.random.default_rng(k)) - tone) - level(tone)
             for k in range(40)]  # fmt: skip
    assert -36.1 < min(share) < -30 and -20 < max(share) < -13.9


def test_clean_share_sets_the_share_of_windows_without_noise(table):
    _, clean, noise = mixed(table, clean_share=0.5, snr_range_db=(0, 10))
    bare = np.abs(noise).max(axis=1) == 0
    assert 0 < bare.mean() < 1
    assert (level(clean) > -60).all()


def test_rumble_falls_steeply_above_its_corner_frequency():
    for seed in range(8):
        wave = effects.rumble(16_000, RATE, np.random.default_rng(seed))
        frequency, power = signal.welch(wave, RATE, nperseg=4096)
        assert np.sqrt(np.mean(wave**2)) == pytest.approx(1)
        assert power[frequency < 250].sum() > 0.99 * power.sum()
        # From 240 to 480 Hz, an octave above the highest corner, by 24 dB.
        fall = 10 * np.log10(np.interp(240, frequency, power) / np.interp(480, frequency, power))
        assert 20 < fall < 28


def test_rumble_of_the_speech_stays_in_the_clean_target(table):
    def below(waves):
        kept = np.fft.rfft(waves) * (np.fft.rfftfreq(WINDOW, 1 / RATE) < 250)
        return level(np.fft.irfft(kept, WINDOW))

    usual, rumbling = (mixed(table, snr_range_db=(20, 20), rumble=share) for share in (0, 1))
    # The voices are tones of 500 Hz and more.
    added = below(rumbling[1]) - level(usual[1])
    assert below(usual[1]).max() < below(rumbling[1]).min()
    assert -41 < added.min() < -30 and -20 < added.max() < -9
    share = below(rumbling[2]) - level(rumbling[2])
    assert (below(usual[2]) - level(usual[2])).max() < share.max() and share.max() > -1
    np.testing.assert_allclose(level(rumbling[1]) - level(rumbling[2]), 20, atol=1.5)


def test_the_random_filter_is_a_filter_of_second_order():
    rng = np.random.default_rng(3)
    wave = rng.standard_normal(4096)
    filtered = filter_randomly(wave, np.random.default_rng(5))
    assert audio.rms(filtered) == pytest.approx(audio.rms(wave))
    above, below = np.random.default_rng(5).uniform(-3 / 8, 3 / 8, (2, 2))
    # Undone by its own recursion: y[n] + b1 y[n-1] + b2 y[n-2] is x[n] + a1 x[n-1] + a2 x[n-2].
    left = filtered[2:] + below[0] * filtered[1:-1] + below[1] * filtered[:-2]
    right = wave[2:] + above[0] * wave[1:-1] + above[1] * wave[:-2]
    scale = left @ right / (right @ right)
    np.testing.assert_allclose(left, scale * right, atol=1e-9)


def test_shaped_noise_has_a_spectral_tilt_and_a_varying_envelope():
    octaves = np.array([125, 250, 500, 1000, 2000, 4000])
    slopes, envelopes = [], []
    for seed in range(60):
        noise = shaped_noise(32_000, 16_000, np.random.default_rng(seed))
        assert audio.rms(noise) == pytest.approx(1)
        power = np.abs(np.fft.rfft(noise)) ** 2
        bins = octaves * 2
        bands = [power[low : 2 * low].mean() for low in bins]
        slopes.append(np.polyfit(range(6), 10 * np.log10(bands), 1)[0])
        envelopes.append(np.std(level(noise.reshape(20, -1))))
    assert -6.5 < np.mean(slopes) < -2.5  # evenly from 0 to -9 dB an octave
    assert 0.25 < np.mean(np.array(envelopes) > 2) < 0.75


def test_a_reversed_noise_is_played_backwards(table):
    forwards = mixed(table, snr_range_db=(4, 4))[2]
    backwards = mixed(table, snr_range_db=(4, 4), reversed_noise=1)[2]
    np.testing.assert_allclose(backwards[:, ::-1], forwards, atol=1e-6)


def test_spectrum_transfer_copies_the_spectrum_and_keeps_the_envelope():
    rng = np.random.default_rng(0)
    time = np.arange(32_000) / 16_000
    wave = rng.standard_normal(32_000) * (1.1 + np.sin(2 * np.pi * 3 * time))
    model = 0.1 * signal.lfilter([1], [1, -0.97], rng.standard_normal(32_000))
    transfer_spectrum = effects.transfer_spectrum(wave, model, 16_000)
    for low in (125, 250, 500, 1000, 2000, 4000):
        band = signal.butter(4, (low, 1.9 * low), "bandpass", fs=16_000, output="sos")
        levels = [level(signal.sosfilt(band, of)) for of in (transfer_spectrum, model)]
        assert levels[0] == pytest.approx(levels[1], abs=1.5)
    envelopes = [np.sqrt(np.mean(signal.sosfilt(band, of).reshape(40, -1) ** 2, axis=1))
                 for of in (transfer_spectrum, wave)]  # fmt: skip
    assert np.corrcoef(envelopes)[0, 1] > 0.99


def test_impacts_are_impulsive_and_hum_is_periodic():
    peakedness, repetition = [], []
    for seed in range(40):
        strokes, hum = (make(32_000, 16_000, np.random.default_rng(seed))
                        for make in (effects._impacts, effects._hum))  # fmt: skip
        assert audio.rms(strokes) == pytest.approx(1) and audio.rms(hum) == pytest.approx(1)
        peakedness.append(np.mean(strokes**4))
        frame = hum[8000:10_400]
        correlation = np.correlate(hum[8000 : 10_400 + 540], frame, "valid")
        correlation /= np.sqrt(np.convolve(hum[8000 : 10_400 + 540] ** 2, np.ones(2400), "valid"))
        repetition.append(correlation[30:].max() / np.sqrt(np.sum(frame**2)))
    assert np.median(peakedness) > 6  # Gaussian noise has 3
    assert np.quantile(repetition, 0.2) > 0.9  # noise has 0.1


def test_the_reverberation_time_is_between_0_2_and_1_s():
    impulse = np.zeros(32_000)
    impulse[0] = 1
    times, ratios = [], []
    for seed in range(40):
        response = reverberate(impulse, 16_000, np.random.default_rng(seed))
        assert response[0] == pytest.approx(1)
        tail = np.square(response[1:])
        ratios.append(10 * np.log10(tail.sum()))
        # Schroeder, JASA 37, 1965: what is still to come falls as the sound does.
        left = 10 * np.log10(np.cumsum(tail[::-1])[::-1] / tail.sum())
        times.append((np.argmax(left < -25) - np.argmax(left < -5)) / 16_000 * 3)
    assert 0.18 < min(times) < 0.3 and 0.85 < max(times) < 1.1
    assert -5.1 < min(ratios) < -3 and 8 < max(ratios) < 10.1


def test_band_masking_removes_one_band_only():
    waves = np.random.default_rng(0).standard_normal((2, 4096))
    masked = mask_band(waves, RATE, 0.2, np.random.default_rng(1))
    before, after = np.fft.rfft(waves), np.fft.rfft(masked)
    gone = np.abs(after).max(axis=0) < 1e-9
    assert gone.any() and np.all(np.diff(np.flatnonzero(gone)) == 1)
    np.testing.assert_allclose(after[:, ~gone], before[:, ~gone], atol=1e-9)
    edges = np.flatnonzero(gone)[[0, -1]] * RATE / 4096
    mel = 2595 * np.log10(1 + np.array([*edges, RATE / 2]) / 700)
    assert mel[1] - mel[0] <= 0.2 * mel[2]


@pytest.fixture(scope="module")
def folders(table, tmp_path_factory):
    """Manifests for windows that are cached and for such that are not."""
    root = tmp_path_factory.mktemp("folders")
    write_table(root / "train.csv", table)
    for name, kept in (("cached", True), ("rendered", False)):
        settings = FEATURES.model_copy(update={"cache": kept})
        write_cache(root / name, root / "train.csv", RATE, settings)
    return root


def test_rendered_batches_equal_cached_batches(folders):
    chosen = TrainingSettings(batch_size=4)
    cached, rendered = (open_batches(folders / name / "manifest.json", chosen)
                        for name in ("cached", "rendered"))  # fmt: skip
    assert not list((folders / "rendered").glob("*.npy"))
    assert (cached.item_shape, cached.outputs) == (rendered.item_shape, rendered.outputs)
    for windows in (cached, rendered):
        windows.shuffle(3)
    for one, two in zip(cached, rendered, strict=True):
        for first, second in zip(one, two, strict=True):
            np.testing.assert_array_equal(first, second)


def test_loader_processes_do_not_change_the_batches(folders):
    served = []
    for loaders in (0, 2):
        chosen = TrainingSettings(batch_size=1, loss="wave", loaders=loaders)
        windows = open_batches(
            folders / "rendered/manifest.json", chosen, AugmentationSettings(shift=9)
        )
        # More batches than are made ahead, after an epoch that was left early.
        assert len(windows) > 3 * (2 * loaders + 1)
        windows.shuffle(2)
        left = windows.iterate_from(0)
        next(left)
        windows.shuffle(3)
        served.append([[np.asarray(part) for part in batch] for batch in windows])
        windows.close()
    for one, other in zip(*served, strict=True):
        np.testing.assert_array_equal(one[0], one[1][..., 0])
        for first, second in zip(one, other, strict=True):
            np.testing.assert_array_equal(first, second)


def test_only_training_windows_are_augmented(folders, tmp_path, monkeypatch):
    seeds: list[int | None] = []
    batch = Mixer.batch
    monkeypatch.setattr(
        Mixer, "batch", lambda self, chosen, epoch_seed=None: seeds.append(
            epoch_seed if self.settings.active else None) or batch(self, chosen, epoch_seed)
    )  # fmt: skip
    settings = TrainingSettings(epochs=2, batch_size=8, threads=1, loss="si_sdr")
    paths = {"train": folders / "rendered", "validation": folders / "rendered"}
    network, augmentation = UNetSettings(filters=(2, 4)), AugmentationSettings(random_filter=1)
    train_into(tmp_path, paths, network, settings, augmentation=augmentation)
    history = read_table(tmp_path / "history.csv")
    assert np.isfinite(history["val_loss"]).all()
    varied = {seed for seed in seeds if seed is not None}
    assert len(varied) == 2  # one seed an epoch
    assert seeds.count(None) > 2
