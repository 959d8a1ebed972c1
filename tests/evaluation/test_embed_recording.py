"""Embedding recordings: like the daemon, cut at the right place, cached, shared with a helper process."""

from __future__ import annotations

import ast
import os
import shutil
import sys
from collections import deque
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
from evaluation_parts import HELPER_MODEL_VARIABLE, VOICES, BandEmbedder, die_with_work
from models import campplus_cache

from voiceauthd.audio.block import RATE, Block
from voiceauthd.audio.file import read_recording
from voiceauthd.config.schema import GateConfig, ModelConfig, SpeechConfig
from voiceauthd.embed.load import load_embedder
from voiceauthd.errors import AudioError, ModelError
from voiceauthd.evaluation import cache as cache_module
from voiceauthd.evaluation import embed_recording, embedding_workers
from voiceauthd.evaluation.cache import Cache
from voiceauthd.evaluation.embed_recording import NO_RULE, Job, RecordingEmbedder
from voiceauthd.evaluation.embedded_recording import EmbeddedRecording, pack, unpack
from voiceauthd.evaluation.embedding_workers import EmbeddingWorkers
from voiceauthd.pipeline.recogniser import Recogniser, ScoredWindow, follow
from voiceauthd.scoring.similarity import make_gallery
from voiceauthd.speech.segmenter import Segmenter, segment
from voiceauthd.speech.window import SpeechEnded

CUTS = (1.0, 1.5, 2.0, 3.0, 60.0)


@pytest.fixture(scope="module")
def long_recording(tmp_path_factory):
    """Three sentences: about eight seconds of speech in several utterances."""
    path = tmp_path_factory.mktemp("sound") / "long.wav"
    sentences = [read_recording(VOICES / name) for name in ("ralph-1.flac", "ralph-2.flac", "ralph-3.flac")]
    soundfile.write(path, np.concatenate(sentences), RATE)
    return path


@pytest.fixture
def recording_embedder():
    return RecordingEmbedder(BandEmbedder(), SpeechConfig())


@pytest.fixture
def quiet(tmp_path):
    path = tmp_path / "quiet.wav"
    soundfile.write(path, np.zeros(2 * RATE), RATE)
    return path


def files_in(folder):
    return sorted(path for path in folder.rglob("*") if path.is_file())


def test_windows_and_embeddings_are_those_of_the_daemon(recording_embedder, long_recording):
    embedder = BandEmbedder()
    recogniser = Recogniser(embedder, make_gallery([], embedder.model), NO_RULE, GateConfig())
    block = Block(read_recording(long_recording), 0, 0.0)
    live = [each for each in follow([block], Segmenter(SpeechConfig()), recogniser) if isinstance(each, ScoredWindow)]
    whole = recording_embedder.embed(Job(long_recording)).whole
    assert len(whole.windows) == len(live) > 3
    for window, embedding, scored in zip(whole.windows, whole.embeddings, live, strict=True):
        assert (window.start, window.end) == (scored.window.start, scored.window.end)
        assert len(window.samples) == len(scored.window.samples)
        assert (window.quality, window.new_speech) == (scored.window.quality, scored.window.new_speech)
        assert np.allclose(embedding.vector, scored.embedding.vector)


def test_a_cut_has_its_net_speech_and_one_beyond_the_end_is_the_whole(recording_embedder, long_recording):
    recording = recording_embedder.embed(Job(long_recording, cuts=CUTS))
    for seconds, cut in zip(CUTS[:-1], recording.cuts, strict=False):
        assert cut.net_speech == pytest.approx(seconds, abs=0.021)
        assert all(window.quality.net_speech <= seconds + 0.021 for window in cut.windows)
    assert recording.cuts[-1] is recording.whole, "there is less than a minute of speech"
    assert recording.whole.net_speech > 5.0


def test_a_cut_recording_has_the_windows_of_one_that_ends_there(recording_embedder, long_recording):
    samples = read_recording(long_recording)
    cut = recording_embedder.embed(Job(long_recording, cuts=(3.0,))).cuts[0]
    last = cut.windows[-1]
    ended = last.start + len(last.samples)
    for end in range(ended, ended + RATE // 2, RATE // 50):
        found = list(segment([Block(samples[:end], 0, 0.0)], Segmenter(SpeechConfig())))
        if sum(each.net_speech for each in found if isinstance(each, SpeechEnded)) >= 3.0:
            starts = [each.start for each in found if hasattr(each, "quality")]
            assert starts == [window.start for window in cut.windows]
            return
    pytest.fail("the cut is not at 3 s of net speech")


def test_the_segmenter_counts_the_speech_of_all_utterances_and_starts_over_for_the_next_recording(long_recording):
    segmenter = Segmenter(SpeechConfig())
    for _ in range(2):
        found = list(segment([Block(read_recording(long_recording), 0, 0.0)], segmenter))
        reported = sum(each.net_speech for each in found if isinstance(each, SpeechEnded))
        assert segmenter.net_speech == pytest.approx(reported)


def test_silence_has_no_windows(recording_embedder, quiet):
    recording = recording_embedder.embed(Job(quiet, cuts=(1.0,)))
    assert (recording.whole.windows, recording.whole.net_speech) == ((), 0.0)
    assert recording.cuts == (recording.whole,)
    assert unpack(pack(recording), BandEmbedder.model, 1) is not None


def test_the_error_for_an_unreadable_recording_names_it_and_its_line(recording_embedder, tmp_path):
    (tmp_path / "damaged.flac").write_bytes(b"fLaC" + bytes(100))
    with pytest.raises(AudioError, match=r"^trials\.csv, line 7: .*damaged\.flac: not audio"):
        recording_embedder.embed(Job(tmp_path / "damaged.flac", "trials.csv, line 7"))


def test_packing_loses_only_the_samples(recording_embedder, long_recording):
    recording = recording_embedder.embed(Job(long_recording, cuts=CUTS))
    back = unpack(pack(recording), BandEmbedder.model, len(CUTS))
    for one, other in zip((recording.whole, *recording.cuts), (back.whole, *back.cuts), strict=True):
        assert (one.net_speech, one.failed) == (other.net_speech, other.failed)
        assert [(w.start, w.end, w.quality, w.new_speech, w.utterance, len(w.samples)) for w in one.windows] == [
            (w.start, w.end, w.quality, w.new_speech, w.utterance, len(w.samples)) for w in other.windows
        ]
        assert all(np.array_equal(a.vector, b.vector) for a, b in zip(one.embeddings, other.embeddings, strict=True))


@pytest.mark.parametrize("damage", [b"", b"\x00" * 40, b"not safetensors at all, however long it is"])
def test_damaged_data_is_not_unpacked(damage):
    assert unpack(damage, BandEmbedder.model, 0) is None


def test_data_for_other_cuts_or_another_dimension_is_not_unpacked(recording_embedder, long_recording):
    data = pack(recording_embedder.embed(Job(long_recording)))
    assert unpack(data, BandEmbedder.model, 1) is None
    assert unpack(data, replace(BandEmbedder.model, dimension=25), 0) is None
    assert unpack(data[:-4], BandEmbedder.model, 0) is None


def workers(folder, embedder, speech=SpeechConfig()):  # noqa: B008 - frozen
    return EmbeddingWorkers(ModelConfig(device="cpu"), speech, embedder, Cache(folder, embedder.model, speech))


def test_the_second_time_nothing_is_embedded_again(tmp_path, long_recording):
    embedder = BandEmbedder()
    jobs = [Job(long_recording, cuts=CUTS)]
    first = workers(tmp_path / "cache", embedder).embed(jobs, lambda *_: None)
    count = embedder.clips
    second = workers(tmp_path / "cache", embedder).embed(jobs, lambda *_: None)
    assert embedder.clips == count > 0
    assert pack(first[0]) == pack(second[0])


def test_cache_files_are_private_and_contain_no_names(tmp_path, long_recording):
    before = os.umask(0)
    try:
        workers(tmp_path / "cache", BandEmbedder()).embed([Job(long_recording, "trials.csv, line 2")], lambda *_: None)
    finally:
        os.umask(before)
    files = files_in(tmp_path / "cache")
    assert [path.stat().st_mode & 0o777 for path in files] == [0o600]
    assert {path.stat().st_mode & 0o777 for path in (tmp_path / "cache", files[0].parent)} == {0o700}
    assert b"long" not in files[0].read_bytes()


@pytest.mark.parametrize("change", ["content", "speech", "model", "cuts", "degradation", "code"])
def test_the_cache_misses_when_anything_relevant_changes(tmp_path, long_recording, monkeypatch, change):
    embedder, speech, job = BandEmbedder(), SpeechConfig(), Job(long_recording)
    workers(tmp_path / "cache", embedder).embed([job], lambda *_: None)
    if change == "content":
        job = Job(VOICES / "ralph-1.flac")
    elif change == "speech":
        speech = replace(speech, hop=2.0)
    elif change == "model":
        embedder.model = replace(embedder.model, digest="ef" * 32)
    elif change == "cuts":
        job = Job(long_recording, cuts=(1.0,))
    elif change == "degradation":
        job = Job(long_recording, degradation=Quieter())
    else:
        monkeypatch.setattr(cache_module, "VERSION", cache_module.VERSION + 1)
    count = embedder.clips
    workers(tmp_path / "cache", embedder, speech).embed([job], lambda *_: None)
    assert embedder.clips > count
    assert len(files_in(tmp_path / "cache")) == 2


def imported(module):
    """The package's modules that a module imports at its top level."""
    for node in ast.parse(Path(module.__file__).read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ImportFrom) and node.module is not None and node.module.startswith("voiceauthd."):
            for name in (node.module, *(f"{node.module}.{alias.name}" for alias in node.names)):
                if name in sys.modules:
                    yield sys.modules[name]


def test_the_cache_key_covers_the_code_up_to_the_embeddings_and_not_the_scoring():
    found, new = set(), {embed_recording}
    while new:
        found |= new
        new = {each for module in new for each in imported(module) if room_of(each) in ("audio", "speech")} - found
    assert len(found) > 6
    assert {module.__name__ for module in found - set(cache_module.MODULES)} <= {
        "voiceauthd.audio.wakeup"
    }  # only for threads
    assert not [module for module in cache_module.MODULES if room_of(module) == "scoring"]


def room_of(module):
    return module.__name__.split(".")[1]


def test_the_name_of_a_recording_is_not_part_of_the_key(tmp_path, long_recording):
    embedder = BandEmbedder()
    workers(tmp_path / "cache", embedder).embed([Job(long_recording)], lambda *_: None)
    count = embedder.clips
    copy = shutil.copy(long_recording, tmp_path / "copy.wav")
    workers(tmp_path / "cache", embedder).embed([Job(copy)], lambda *_: None)
    assert embedder.clips == count


def test_a_damaged_cache_file_is_computed_again_and_replaced(tmp_path, long_recording):
    embedder = BandEmbedder()
    first = workers(tmp_path / "cache", embedder).embed([Job(long_recording)], lambda *_: None)
    (file,) = files_in(tmp_path / "cache")
    whole = file.read_bytes()
    file.write_bytes(whole[:100])
    again = workers(tmp_path / "cache", embedder).embed([Job(long_recording)], lambda *_: None)
    assert pack(again[0]) == pack(first[0])
    assert file.read_bytes() == whole


class Quieter:
    """A degradation."""

    key = "quieter"

    def __call__(self, samples):
        return samples * np.float32(0.5)


@pytest.fixture(scope="module")
def campplus():
    model = ModelConfig(name="campplus", cache=campplus_cache(), device="cpu")
    return model, load_embedder(model)


def embed_with_helper(campplus, monkeypatch, count=8) -> list[EmbeddedRecording]:
    model, embedder = campplus
    monkeypatch.setattr(embedding_workers, "MIN_JOBS_FOR_HELPER", 2)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: {0, 1})
    files = sorted(VOICES.glob("*.flac"))
    jobs = [Job(files[index % len(files)]) for index in range(count)]
    return EmbeddingWorkers(model, SpeechConfig(), embedder, None).embed(jobs, lambda *_: None)


def test_a_helper_gives_the_same_results_in_the_right_order(campplus, monkeypatch):
    done_by_helper = []
    collect = embedding_workers._Helper.collect

    def counted(self, *, wait):
        for index, data in collect(self, wait=wait):
            done_by_helper.append(index)
            yield index, data

    monkeypatch.setattr(embedding_workers._Helper, "collect", counted)
    # This process waits for the helper before each job, so that the helper does some.
    monkeypatch.setattr(embedding_workers._Helper, "assign", waiting_for_helper(embedding_workers._Helper.assign))
    found = embed_with_helper(campplus, monkeypatch)
    alone = RecordingEmbedder(campplus[1], SpeechConfig())
    files = sorted(VOICES.glob("*.flac"))
    assert len(done_by_helper) > 0
    for index, recording in enumerate(found):
        expected = alone.embed(Job(files[index % len(files)]))
        assert [w.start for w in recording.whole.windows] == [w.start for w in expected.whole.windows]
        for one, other in zip(recording.whole.embeddings, expected.whole.embeddings, strict=True):
            assert float(np.dot(one.vector, other.vector)) > 0.99999


def waiting_for_helper(assign):
    def assign_when_ready(self, jobs, todo):
        if not self._ready and self._alive:
            self._connection.poll(60.0)
        assign(self, jobs, todo)

    return assign_when_ready


def test_the_jobs_of_a_helper_that_dies_are_done_in_this_process(campplus, monkeypatch):
    monkeypatch.setenv(HELPER_MODEL_VARIABLE, str(campplus[1].model))
    monkeypatch.setattr(embedding_workers, "_run_helper", die_with_work)
    monkeypatch.setattr(embedding_workers._Helper, "assign", waiting_for_helper(embedding_workers._Helper.assign))
    found = embed_with_helper(campplus, monkeypatch, count=6)
    assert len(found) == 6
    assert all(recording.whole.windows for recording in found)


def test_an_error_in_the_helper_is_raised_in_this_process(campplus, tmp_path):
    model, embedder = campplus
    (tmp_path / "damaged.flac").write_bytes(b"fLaC" + bytes(100))
    with embedding_workers._running_helper(model, SpeechConfig()) as connection:
        helper = embedding_workers._Helper(connection, str(embedder.model))
        assert connection.poll(60.0)
        assert list(helper.collect(wait=False)) == []
        helper.assign([Job(tmp_path / "damaged.flac", "trials.csv, line 2")], deque([0]))
        with pytest.raises(AudioError, match=r"^trials\.csv, line 2: .*damaged\.flac: not audio") as caught:
            list(helper.collect(wait=True))
    assert caught.value.reason == "bad_audio"


def test_a_helper_with_another_model_is_refused(campplus, monkeypatch):
    monkeypatch.setenv(HELPER_MODEL_VARIABLE, "another model")
    monkeypatch.setattr(embedding_workers, "_run_helper", die_with_work)
    monkeypatch.setattr(embedding_workers._Helper, "assign", waiting_for_helper(embedding_workers._Helper.assign))
    with pytest.raises(ModelError, match="the model changed"):
        embed_with_helper(campplus, monkeypatch, count=6)
