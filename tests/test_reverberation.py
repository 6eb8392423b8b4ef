"""Rooms: reverberant speech and noise, the clean target, and the SNR."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import soundfile
import yaml
from conftest import encoded, hiss, tone_speech, write_mirror, zip_of
from made import prepare_into
from scipy import signal
from test_config import plan
from workflow_runs import TINY, configure, copy_project, snakemake

from denoise import audio
from denoise.core import files
from denoise.core.arrays import PackWriter, load_array
from denoise.core.errors import UserError
from denoise.core.tables import read_table, write_table
from denoise.corpora import folder
from denoise.corpora.splits import SplitSettings, assign
from denoise.mixing.augmentation import AugmentationSettings, Mixer
from denoise.mixing.draw import draw_utterances, draw_windows
from denoise.mixing.files import Recordings
from denoise.mixing.levels import set_levels
from denoise.mixing.render import SOURCES, Packs, packs_of, render, render_recording
from denoise.mixing.rooms import response_of
from denoise.mixing.settings import MixingSettings, TestSetSettings
from denoise.report.background import conditions
from denoise.study import paths
from denoise.study.plan import make_plan

RATE = 8000
TAIL = 2400
"""Samples of the rooms below."""


def room_response(seed: int) -> np.ndarray:
    """A direct sound after 20 samples, and a tail that decays by 60 dB in `TAIL`."""
    rng = np.random.default_rng(seed)
    tail = 0.2 * rng.standard_normal(TAIL) * 10 ** (-3 * np.arange(TAIL) / TAIL)
    return np.concatenate([np.zeros(20), [1.0], tail]).astype(np.float32)


def pack(path, waves: dict[str, np.ndarray], groups: dict[str, str], **columns) -> pd.DataFrame:
    """A prepared source, as `splits.split` gives it."""
    path.parent.mkdir(parents=True)
    writer = PackWriter(path)
    table = pd.DataFrame(
        {
            "source": str(path), "id": name, "speaker": "", "sex": "", "noise_type": "",
            "group": groups[name], "snr": np.nan, "split": "train", "validation_windows": 0.0,
            "noisy_offset": -1, "offset": writer.append(wave), "samples": len(wave),
            "level": audio.active_level(wave, RATE)[0],
        }
        for name, wave in waves.items()
    )  # fmt: skip
    writer.close()
    return table.assign(**columns)


@pytest.fixture(scope="module")
def given(tmp_path_factory) -> Recordings:
    root = tmp_path_factory.mktemp("reverberation")
    voices = {f"s{k}": tone_speech(4, RATE, k) for k in range(4)}
    noises = {f"n{k}": hiss(1.5 + k, RATE, k) for k in range(3)}
    # Two rooms of two places each, and one of a single place.
    places = {f"r{k}": room_response(k) for k in range(5)}
    of_room = {"r0": "hall", "r1": "hall", "r2": "kitchen", "r3": "kitchen", "r4": "booth"}
    speech = pack(root / "speech/audio.npy", voices, {name: name for name in voices})
    noise = pack(root / "noise/audio.npy", noises, {name: name for name in noises})
    return Recordings(
        speech.assign(speaker=speech["id"]),
        noise.assign(noise_type="hiss"),
        pack(root / "rooms/audio.npy", places, of_room),
    )


def windows(given: Recordings, **rooms) -> pd.DataFrame:
    chosen = MixingSettings(
        segment=8000, speech_stride=4000, noise_stride=100, snr_db=(0, 10),
        rooms={"share": 1, **rooms},
    )  # fmt: skip
    return set_levels(draw_windows(given, chosen, "train", RATE, 0), RATE, 0)


def test_the_direct_sound_is_found_before_a_louder_reflection():
    response = np.zeros(4000)
    response[[300, 320, 900]] = 0.3, 0.2, 1.0
    assert audio.direct_sound(response, RATE) == 300
    # Ringing before it, as of a resampler, is weaker than 20 dB below the strongest.
    response[295:300] = 0.02
    assert audio.direct_sound(response, RATE) == 300


def test_responses_are_trimmed_from_2_ms_before_the_direct_sound_to_60_db_decay():
    decay = 10 ** (-3 * np.arange(3 * RATE) / (0.5 * RATE))  # 60 dB in half a second
    response = np.concatenate([np.zeros(1000), decay])
    kept = audio.trim_response(response, RATE)
    assert audio.direct_sound(kept, RATE) == 0.002 * RATE
    # What is left of an exponential falls as it does itself.
    assert len(kept) == pytest.approx((0.002 + 0.5) * RATE, abs=2)


def test_early_anechoic_and_reverberant_targets_match_the_closed_form():
    """Direct sound, a reflection after 30 ms and one after 80 ms, in closed form."""
    taps = {40: 0.5, 40 + 240: -0.25, 40 + 640: 0.125}
    recorded = np.zeros(800, np.float32)
    recorded[list(taps)] = list(taps.values())
    room = response_of(recorded, RATE)
    scale = room.samples[40] / 0.5
    wave = np.random.default_rng(0).standard_normal(6000).astype(np.float32)

    def delayed(*chosen: int) -> np.ndarray:
        parts = [taps[tap] * np.pad(wave, (tap - 40, 0))[: len(wave)] for tap in chosen]
        return scale * np.sum(parts, axis=0)

    close = {"atol": 2e-6}
    np.testing.assert_allclose(room.reverberate(wave), delayed(40, 280, 680), **close)
    np.testing.assert_allclose(room.target(wave, 0, "early", 50), delayed(40, 280), **close)
    np.testing.assert_allclose(room.target(wave, 0, "early", 29.9), delayed(40), **close)
    np.testing.assert_allclose(room.target(wave, 0, "early", 30), delayed(40, 280), **close)
    np.testing.assert_allclose(room.target(wave, 0, "anechoic", 50), delayed(40), **close)
    np.testing.assert_allclose(
        room.target(wave, 0, "reverberant", 50), delayed(40, 280, 680), **close
    )
    # What came before is heard, and is not part of what comes back.
    np.testing.assert_allclose(room.reverberate(wave, 1000), delayed(40, 280, 680)[1000:], **close)


def speech_shaped_noise(rate: int) -> np.ndarray:
    """Noise with the long-term spectrum of speech: even to 500 Hz, then 9 dB an octave weaker."""
    rng = np.random.default_rng(0)
    frequency = np.fft.rfftfreq(1 << 16, 1 / rate)
    amplitude = np.where(frequency < 500, 1, (np.maximum(frequency, 1) / 500) ** -1.5)
    amplitude[frequency < 100] = 0
    spectrum = amplitude * np.exp(2j * np.pi * rng.random(len(frequency)))
    return np.fft.irfft(spectrum).astype(np.float32)


@pytest.mark.parametrize("edge", [1500, 3400, 7900])
def test_without_reflections_anechoic_and_reverberant_levels_are_equal(edge):
    """Whatever band the loudspeaker had."""
    wave = speech_shaped_noise(48000)
    impulse = np.zeros(4800)
    impulse[2400] = 1
    loudspeaker = signal.sosfiltfilt(signal.butter(4, edge, output="sos", fs=48000), impulse)
    room = response_of(audio.trim_response(loudspeaker, 48000), 48000)
    ratio = audio.rms(room.target(wave, 0, "anechoic", 50)) / audio.rms(room.reverberate(wave))
    assert 20 * np.log10(ratio) == pytest.approx(0, abs=0.5)


def test_speech_keeps_its_level_in_a_room():
    wave = speech_shaped_noise(RATE)
    for seed in range(3):
        heard = response_of(3.7 * room_response(seed), RATE).reverberate(wave)
        assert 20 * np.log10(audio.rms(heard) / audio.rms(wave)) == pytest.approx(0, abs=1)


def test_reverberant_mixtures_have_the_target_snr(given):
    chosen = MixingSettings(segment=32000, snr_db=(-5, 5), rooms={"share": 1})
    table = set_levels(draw_windows(given, chosen, "train", RATE, 3), RATE, 3)
    packs = packs_of(table)
    rooms = given.rooms.set_index("id")
    for row in table.to_dict("records"):
        noisy, _ = render(row, packs, RATE)
        dry = packs[row["speech_source"]][row["speech_start"] :][: row["samples"]]
        recorded = room_response(int(row["speech_response"][1:]))
        heard = signal.fftconvolve(dry, recorded)[20 : 20 + len(dry)]
        # Up to a factor, which is that of the room.
        place = rooms.loc[row["speech_response"]]
        scaled = response_of(packs[row["room_source"]][place.offset :][: place.samples], RATE)
        heard *= row["clip_scale"] * scaled.samples[20] / recorded[20]
        snr = 20 * np.log10(audio.active_level(heard, RATE)[0] / audio.rms(noisy - heard))
        assert snr == pytest.approx(row["snr_target"], abs=0.02)
        assert row["snr"] == pytest.approx(row["snr_target"], abs=0.01)


@pytest.mark.parametrize("target", ["early", "anechoic", "reverberant"])
def test_a_rendered_window_equals_that_part_of_the_rendered_recording(given, target):
    """What was said before the window is heard in it."""
    table = windows(given, target=target)
    later = table[table["speech_offset"] > TAIL + 50]
    packs = packs_of(table)
    for row in later.to_dict("records")[:4]:
        part = slice(row["speech_offset"], row["speech_offset"] + row["samples"])
        for window, recording in zip(
            render(row, packs, RATE), render_recording(row, packs, RATE), strict=True
        ):
            np.testing.assert_allclose(window[:-20], recording[part][:-20], atol=1e-5)


def test_speech_and_noise_share_a_room_at_different_positions(given):
    table = windows(given)
    rooms = given.rooms.set_index("id")["group"]
    assert (rooms[table["speech_response"]].to_numpy() == table["room"]).all()
    assert (rooms[table["noise_response"]].to_numpy() == table["room"]).all()
    same = table["speech_response"] == table["noise_response"]
    assert (same == (table["room"] == "booth")).all()
    assert set(table["room"]) == {"hall", "kitchen", "booth"}


def test_rooms_share_leaves_the_other_windows_unchanged(given):
    many = {"segment": 4000, "speech_stride": 200, "noise_stride": 100, "snr_db": (0, 10)}
    half, none = (
        draw_windows(given, MixingSettings(**many, rooms={"share": share}), "train", RATE, 0)
        for share in (0.5, 0)
    )
    inside = half["room"] != ""
    assert inside.mean() == pytest.approx(0.5, abs=0.1)  # of 560, five standard deviations
    pd.testing.assert_frame_equal(half[none.columns], none)
    mixed = set_levels(half, RATE, 0)
    outside = mixed[~inside].iloc[0].to_dict()
    first = set_levels(none, RATE, 0)[~inside].iloc[0].to_dict()
    packs = packs_of(mixed)
    np.testing.assert_array_equal(render(outside, packs, RATE), render(first, packs, RATE))


def test_windows_render_the_same_from_the_saved_table(given, tmp_path):
    table = windows(given)
    write_table(tmp_path / "table.csv", table)
    again = read_table(tmp_path / "table.csv")
    packs = packs_of(again)
    for before, after in zip(table.to_dict("records"), again.to_dict("records"), strict=True):
        np.testing.assert_allclose(
            render(before, packs, RATE), render(after, packs, RATE), atol=1e-6
        )


def test_epochs_move_windows_to_other_rooms(given):
    table = windows(given, target="anechoic")
    moved = Mixer(table, RATE, AugmentationSettings(rooms=True))
    first, second = (moved.batch(np.arange(len(table)), epoch) for epoch in (1, 2))
    assert np.isfinite(first).all() and np.abs(first - second).max() > 0.01
    np.testing.assert_array_equal(first, moved.batch(np.arange(len(table)), 1))
    packs = packs_of(table)
    for waves, row in zip(first.astype(float), table.to_dict("records"), strict=True):
        dry = packs[row["speech_source"]][row["speech_start"] :][: row["samples"]]
        # The anechoic speech is where it was, in whatever room it is heard.
        clean = waves[:, 1]
        assert np.dot(clean, dry) == pytest.approx(
            np.linalg.norm(clean) * np.linalg.norm(dry), rel=1e-5
        )


def test_room_augmentation_keeps_the_share_of_reverberant_windows(given):
    chosen = MixingSettings(segment=4000, speech_stride=400, snr_db=(60,), rooms={"share": 0.5})
    table = set_levels(draw_windows(given, chosen, "train", RATE, 0), RATE, 0)
    waves = Mixer(table, RATE, AugmentationSettings(rooms=True)).batch(np.arange(len(table)), 5)
    noisy, clean = np.moveaxis(waves.astype(float), 2, 0)
    reverberant = np.mean((noisy - clean) ** 2, axis=1) > 1e-4 * np.mean(clean**2, axis=1)
    assert reverberant.mean() == pytest.approx(0.5, abs=0.12)


def test_room_augmentation_skips_paired_windows_and_keeps_the_others_in_rooms(given):
    """Unpaired windows keep their share of rooms, though pairs beside them have none."""
    table = windows(given)
    paired = table.index % 2 == 0
    pairs = table.assign(
        paired=paired,
        room=table["room"].where(~paired, ""),
        noise_source=table["noise_source"].where(~paired, table["speech_source"]),
        noise_start=table["noise_start"].where(~paired, table["speech_start"]),
    )
    mixer = Mixer(pairs, RATE, AugmentationSettings(rooms=True))
    rng = np.random.default_rng(0)
    rooms = [mixer._in_room(mixer.rows[k], rng)[1] for k in range(len(table))]
    assert [room is not None for room in rooms] == (~paired).tolist()


def test_noise_is_reverberant_from_the_first_sample_of_an_epoch(given):
    """Windows at the beginning of recordings: the noise was there before them."""
    table = windows(given)
    first = table[table["speech_offset"] == 0].assign(snr=-20.0)
    waves = Mixer(first, RATE, AugmentationSettings(rooms=True, gain_range_db=(-1, 0)))
    levels = []
    for epoch in range(30):
        noisy = waves.batch(np.arange(len(first)), epoch)[..., 0].astype(float)
        begins = np.mean(noisy[:, :200] ** 2, axis=1)
        levels.append(10 * np.log10(begins / np.mean(noisy[:, 4000:] ** 2, axis=1)))
    assert np.mean(levels) == pytest.approx(0, abs=1)


def test_impulse_responses_of_a_folder_are_prepared_as_rooms(tmp_path):
    place = tmp_path / "rooms"
    place.mkdir()
    for number in range(2):
        both = np.stack([room_response(number), -room_response(9)], axis=1)
        soundfile.write(place / f"air_booth_0_{number}_90.wav", both, RATE, subtype="FLOAT")
    for number, room in enumerate(("my hall", "101", "102")):
        (place / room).mkdir()
        for side in ("left", "right_2"):
            response = room_response(5 + number)
            soundfile.write(place / room / f"{side}.wav", response, RATE, subtype="FLOAT")
    table = folder.build_folder(place, None).assign(duration=0.3)
    write_table(tmp_path / "index.csv", table)
    prepare_into(tmp_path / "prepared", tmp_path / "index.csv", "room")
    index = read_table(tmp_path / "prepared/index.csv")
    names = ["air_booth", "my hall", "101", "102"]
    assert sorted(index["group"]) == sorted(2 * names)
    assert not index["speaker"].any() and not index["noise_type"].any()
    first = index[index["id"].str.contains("booth_0_0")].iloc[0]
    kept = load_array(tmp_path / "prepared/audio.npy")[first.offset :][: first.samples]
    expected = room_response(0)[20 - 16 :]
    np.testing.assert_allclose(kept, expected[: len(kept)], atol=1e-6)
    # A room stands in one split, whichever of its places is heard.
    many = pd.concat([index.assign(group=f"room {k}", id=index["id"] + str(k)) for k in range(6)])
    split = assign(many, "all", SplitSettings(), 0)
    assert split.groupby(many["group"]).agg(set).map(len).eq(1).all() and split.nunique() == 3


def test_too_few_rooms_for_a_split_are_an_error(given):
    with pytest.raises(UserError, match="test split of the rooms is empty: they are 3 rooms"):
        draw_utterances(
            Recordings(given.speech.assign(split="test"), given.noise.assign(split="test"),
                       given.rooms),
            TestSetSettings(rooms={"share": 1}), 0,
        )  # fmt: skip


@pytest.fixture
def rooms(tmp_path) -> list[dict[str, str]]:
    for number in range(3):
        soundfile.write(tmp_path / f"hall {number}.wav", room_response(number), RATE)
    return [{"corpus": "folder", "path": str(tmp_path)}]


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"mixing.rooms.share": 0.5}, "mixing.rooms.share asks for rooms, but data.rooms names"),
        ({"test_sets.test.rooms.share": 1}, "test_sets.test.rooms.share asks for rooms"),
        ({"data.rooms": "given"}, "data.rooms names rooms, but mixing.rooms.share is 0"),
        ({"augmentation.rooms": True, "features.cache": False},
         "augmentation.rooms takes what mixing.rooms gives to other windows, which is none"),
        ({"augmentation.degradations": True, "features.cache": False},
         "augmentation.degradations takes what mixing.degradations gives"),
        ({"data.rooms": [{"corpus": "esc50"}]}, "rooms names esc50 all, which holds no impulse"),
        ({"data.rooms": "given", "mixing.rooms": {"share": 2}}, "less than or equal to 1"),
        ({"mixing.rooms.target": "dry"}, "'early', 'anechoic' or 'reverberant'"),
    ],
)  # fmt: skip
def test_inconsistent_room_settings_are_refused(rooms, settings, said):
    settings = {path: rooms if value == "given" else value for path, value in settings.items()}
    with pytest.raises(UserError) as error:
        plan(set=settings)
    assert said in str(error.value)


def test_room_settings_affect_only_the_training_or_test_mixtures_that_use_them(rooms):
    without = plan()
    trained = plan(set={"data.rooms": rooms, "mixing.rooms.share": 0.3})
    tested = plan(set={"data.rooms": rooms, "test_sets.test.rooms.share": 1})
    assert trained.test_sets == without.test_sets and tested.mixtures == without.mixtures
    assert trained.mixtures != without.mixtures and tested.test_sets != without.test_sets
    (mixtures,) = trained.mixtures.values()
    assert [name.partition("-")[0] for name in mixtures.upstream] == ["speech", "noise", "room"]


def test_a_test_set_with_its_own_data_uses_its_own_rooms(rooms):
    own = {
        "speech": [{"corpus": "librispeech", "subsets": ["test-clean"]}],
        "noise": [{"corpus": "esc50", "folds": [5]}],
        "rooms": rooms,
    }
    test = {"data": own, "rooms": {"share": 1}}
    (stage,) = plan(set={"test_sets": {"test": test}}).test_sets.values()
    assert stage.upstream[-1].startswith("room")
    with pytest.raises(UserError, match="rooms.share is 0"):
        plan(set={"test_sets": {"test": {"data": own}}})
    with pytest.raises(UserError, match="trains on"):
        plan(set={"data.rooms": rooms, "mixing.rooms.share": 1, "test_sets": {"test": test}})


def test_the_report_states_the_share_of_mixtures_in_rooms(given):
    chosen = MixingSettings(segment=4000, speech_stride=400, rooms={"share": 0.5})
    table = draw_windows(given, chosen, "train", RATE, 0)
    inside = table["room"] != ""
    rooms = table.loc[inside, "room"].nunique()
    assert conditions(table) == (
        f"{100 * inside.mean():.0f} % in {rooms} rooms, the clean side being the direct sound with "
        "early reflections"
    )
    assert conditions(table[~inside]) == "" and conditions(given.speech) == ""


@pytest.mark.slow
def test_the_workflow_applies_rooms_from_an_archive_and_degradations(tmp_path):
    """From the publisher's archive to training windows and a test set, training nothing."""
    small = {
        f"RIRS_NOISES/simulated_rirs/smallroom/Room{room:03d}/Room{room:03d}-{place}.wav": encoded(
            room_response(10 * room + place), 16000, "WAV"
        )
        for room in range(4)
        for place in range(2)
    }
    lines = [f"--rir-id r{k} --room-id {name.split('/')[3]} {name}" for k, name in enumerate(small)]
    listed = {"RIRS_NOISES/simulated_rirs/smallroom/rir_list": "\n".join(lines).encode()}
    mirror = write_mirror(
        tmp_path / "mirror", {"rirs_noises/rirs_noises.zip": zip_of({**listed, **small})}
    )
    study = copy_project(tmp_path / "study")
    configure(
        study, experiment="rooms", sweep={}, baselines=["noisy"], download={"mirror": str(mirror)},
        set={**TINY, "data.rooms": [{"corpus": "rirs_noises", "subsets": ["small"]}],
             "mixing.rooms.share": 0.5,
             "mixing.degradations.clipping": {"share": 0.5, "db": [6, 6]},
             "test_sets.test.utterances": 6, "test_sets.test.rooms.share": 1},
    )  # fmt: skip
    made = make_plan(yaml.safe_load((study / "config.yaml").read_text()), study / "presets")
    (spectrograms,), (test_set,) = made.spectrograms, made.test_sets
    folder, tested = paths.spectrograms(spectrograms, "train"), paths.test_set(test_set)
    run = snakemake(study, folder, str(tested.mixtures))
    assert run.returncode == 0, run.stdout[-2000:] + run.stderr[-4000:]
    windows = read_table(study / files.read_json(study / folder)["mixtures"])
    table = read_table(study / tested.mixtures)
    assert (windows["room"] != "").mean() == pytest.approx(0.5, abs=0.2)
    assert set(windows["degradations"]) == {"", '{"clipping": {"db": 6.0}}'}
    assert (table["room"] != "").all() and not set(table["room"]) & set(windows["room"]) - {""}
    packs = {path: study / path for column in SOURCES for path in table[column]}
    rows = [
        {name: str(packs[value]) if name in SOURCES else value for name, value in row.items()}
        for row in table.to_dict("records")
    ]
    noisy, clean = (load_array(study / path) for path in (tested.noisy, tested.clean))
    for row in rows:
        part = slice(row["offset"], row["offset"] + row["samples"])
        again = render(row, Packs(row[column] for column in SOURCES), RATE)
        np.testing.assert_allclose((noisy[part], clean[part]), again, atol=1e-5)
        assert np.abs(noisy[part] - clean[part]).max() > 1e-3


def test_sources_are_sampled_in_proportion_to_their_share(given):
    """Of noise and of rooms; the others are dealt evenly."""
    noise, rooms = given.noise.copy(), given.rooms.copy()
    noise["source"] = [f"pack {k}" for k in range(3)]
    noise["noise_type"] = ["rain", "hum", "dog"]
    noise["share"] = [0.7, np.nan, np.nan]
    rooms["source"] = np.where(rooms["group"] == "booth", "booths", "others")
    rooms["share"] = np.where(rooms["group"] == "booth", 0.8, np.nan)
    chosen = MixingSettings(segment=4000, speech_stride=50, snr_db=(0, 10), rooms={"share": 1})
    table = draw_windows(Recordings(given.speech, noise, rooms), chosen, "train", RATE, 0)
    kinds = table["noise_type"].value_counts(normalize=True)
    assert kinds["rain"] == pytest.approx(0.7, abs=0.04)  # of 2,244, four standard deviations
    assert kinds["hum"] == pytest.approx(0.15, abs=0.03)
    assert (table["room"] == "booth").mean() == pytest.approx(0.8, abs=0.04)
    # Where a split has only sources with shares, these are in proportion.
    only = draw_windows(
        Recordings(given.speech, noise.assign(share=[0.1, 0.1, 0.2]), rooms),
        chosen,
        "train",
        RATE,
        0,
    )
    assert only["noise_type"].value_counts(normalize=True)["dog"] == pytest.approx(0.5, abs=0.05)


def test_invalid_shares_are_refused():
    noise = [{"corpus": "esc50", "folds": [fold], "share": 0.6} for fold in (1, 2)]
    with pytest.raises(UserError, match="the shares of noise for train are more than 1 together"):
        plan(set={"data.noise": noise})
    with pytest.raises(UserError, match="share is for sources of noise and rooms"):
        plan(set={"data.speech": [{"corpus": "synthetic", "subsets": ["speech"], "share": 0.5}]})
