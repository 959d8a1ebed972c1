"""Recordings through the daemon's path: cut where the speech is full, cached, shared with a helper process."""

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
from evaluation_parts import HELPERS_MODEL, VOICES, Ear, die_with_work
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
    """Three sentences in a row: about eight seconds of speech in several utterances."""
    path = tmp_path_factory.mktemp("sound") / "long.wav"
    sentences = [read_recording(VOICES / name) for name in ("ralph-1.flac", "ralph-2.flac", "ralph-3.flac")]
    soundfile.write(path, np.concatenate(sentences), RATE)
    return path


@pytest.fixture
def hearer():
    return RecordingEmbedder(Ear(), SpeechConfig())


@pytest.fixture
def quiet(tmp_path):
    path = tmp_path / "quiet.wav"
    soundfile.write(path, np.zeros(2 * RATE), RATE)
    return path


def kept(folder):
    return sorted(path for path in folder.rglob("*") if path.is_file())


def test_what_is_heard_is_what_the_daemon_hears(hearer, long_recording):
    ear = Ear()
    recogniser = Recogniser(ear, make_gallery([], ear.model), NO_RULE, GateConfig())
    block = Block(read_recording(long_recording), 0, 0.0)
    live = [
        heard for heard in follow([block], Segmenter(SpeechConfig()), recogniser) if isinstance(heard, ScoredWindow)
    ]
    whole = hearer.hear(Job(long_recording)).whole
    assert len(whole.windows) == len(live) > 3
    for window, embedding, heard in zip(whole.windows, whole.embeddings, live, strict=True):
        assert (window.start, window.end) == (heard.window.start, heard.window.end)
        assert len(window.samples) == len(heard.window.samples)
        assert (window.quality, window.new_speech) == (heard.window.quality, heard.window.new_speech)
        assert np.allclose(embedding.vector, heard.embedding.vector)


def test_a_cut_has_its_net_speech_and_a_longer_one_is_the_whole(hearer, long_recording):
    heard = hearer.hear(Job(long_recording, cuts=CUTS))
    for seconds, take in zip(CUTS[:-1], heard.cuts, strict=False):
        assert take.net_speech == pytest.approx(seconds, abs=0.021)
        assert all(window.quality.net_speech <= seconds + 0.021 for window in take.windows)
    assert heard.cuts[-1] is heard.whole, "there is not a minute of speech"
    assert heard.whole.net_speech > 5.0


def test_a_cut_recording_is_heard_as_if_the_person_had_stopped_there(hearer, long_recording):
    samples = read_recording(long_recording)
    take = hearer.hear(Job(long_recording, cuts=(3.0,))).cuts[0]
    last = take.windows[-1]
    ended = last.start + len(last.samples)
    for end in range(ended, ended + RATE // 2, RATE // 50):
        found = list(segment([Block(samples[:end], 0, 0.0)], Segmenter(SpeechConfig())))
        if sum(each.net_speech for each in found if isinstance(each, SpeechEnded)) >= 3.0:
            starts = [each.start for each in found if hasattr(each, "quality")]
            assert starts == [window.start for window in take.windows]
            return
    pytest.fail("the cut is not where 3 s of speech are full")


def test_the_segmenter_counts_the_speech_of_all_utterances_and_starts_over_with_another_recording(long_recording):
    segmenter = Segmenter(SpeechConfig())
    for _ in range(2):
        found = list(segment([Block(read_recording(long_recording), 0, 0.0)], segmenter))
        told = sum(each.net_speech for each in found if isinstance(each, SpeechEnded))
        assert segmenter.net_speech == pytest.approx(told)


def test_silence_is_a_take_without_windows(hearer, quiet):
    heard = hearer.hear(Job(quiet, cuts=(1.0,)))
    assert (heard.whole.windows, heard.whole.net_speech) == ((), 0.0)
    assert heard.cuts == (heard.whole,)
    assert unpack(pack(heard), Ear.model, 1) is not None


def test_a_recording_that_cannot_be_read_is_named_with_its_place(hearer, tmp_path):
    (tmp_path / "torn.flac").write_bytes(b"fLaC" + bytes(100))
    with pytest.raises(AudioError, match=r"^trials\.csv, line 7: .*torn\.flac: not audio"):
        hearer.hear(Job(tmp_path / "torn.flac", "trials.csv, line 7"))


def test_packing_loses_nothing_but_the_sound(hearer, long_recording):
    heard = hearer.hear(Job(long_recording, cuts=CUTS))
    back = unpack(pack(heard), Ear.model, len(CUTS))
    for one, other in zip((heard.whole, *heard.cuts), (back.whole, *back.cuts), strict=True):
        assert (one.net_speech, one.failed) == (other.net_speech, other.failed)
        assert [(w.start, w.end, w.quality, w.new_speech, w.utterance, len(w.samples)) for w in one.windows] == [
            (w.start, w.end, w.quality, w.new_speech, w.utterance, len(w.samples)) for w in other.windows
        ]
        assert all(np.array_equal(a.vector, b.vector) for a, b in zip(one.embeddings, other.embeddings, strict=True))


@pytest.mark.parametrize("damage", [b"", b"\x00" * 40, b"not safetensors at all, however long it is"])
def test_a_torn_file_of_the_cache_was_never_there(damage):
    assert unpack(damage, Ear.model, 0) is None


def test_a_kept_hearing_of_another_shape_is_refused(hearer, long_recording):
    data = pack(hearer.hear(Job(long_recording)))
    assert unpack(data, Ear.model, 1) is None
    assert unpack(data, replace(Ear.model, dimension=25), 0) is None
    assert unpack(data[:-4], Ear.model, 0) is None


def workers(folder, ear, speech=SpeechConfig()):  # noqa: B008 - frozen
    return EmbeddingWorkers(ModelConfig(device="cpu"), speech, ear, Cache(folder, ear.model, speech))


def test_the_second_time_nothing_is_heard_again(tmp_path, long_recording):
    ear = Ear()
    jobs = [Job(long_recording, cuts=CUTS)]
    first = workers(tmp_path / "cache", ear).hear(jobs, lambda *_: None)
    asked = ear.clips
    second = workers(tmp_path / "cache", ear).hear(jobs, lambda *_: None)
    assert ear.clips == asked > 0
    assert pack(first[0]) == pack(second[0])


def test_what_is_kept_is_for_its_owner_alone_and_holds_no_name(tmp_path, long_recording):
    before = os.umask(0)
    try:
        workers(tmp_path / "cache", Ear()).hear([Job(long_recording, "trials.csv, line 2")], lambda *_: None)
    finally:
        os.umask(before)
    files = kept(tmp_path / "cache")
    assert [path.stat().st_mode & 0o777 for path in files] == [0o600]
    assert {path.stat().st_mode & 0o777 for path in (tmp_path / "cache", files[0].parent)} == {0o700}
    assert b"long" not in files[0].read_bytes()


@pytest.mark.parametrize("what", ["content", "speech", "model", "cuts", "change", "code"])
def test_the_cache_misses_when_anything_changes_that_matters(tmp_path, long_recording, monkeypatch, what):
    ear, speech, job = Ear(), SpeechConfig(), Job(long_recording)
    workers(tmp_path / "cache", ear).hear([job], lambda *_: None)
    if what == "content":
        job = Job(VOICES / "ralph-1.flac")
    elif what == "speech":
        speech = replace(speech, hop=2.0)
    elif what == "model":
        ear.model = replace(ear.model, digest="ef" * 32)
    elif what == "cuts":
        job = Job(long_recording, cuts=(1.0,))
    elif what == "change":
        job = Job(long_recording, change=Quieter())
    else:
        monkeypatch.setattr(cache_module, "VERSION", cache_module.VERSION + 1)
    asked = ear.clips
    workers(tmp_path / "cache", ear, speech).hear([job], lambda *_: None)
    assert ear.clips > asked
    assert len(kept(tmp_path / "cache")) == 2


def imported(module):
    """The package's modules that a module imports at its top."""
    for node in ast.parse(Path(module.__file__).read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ImportFrom) and node.module is not None and node.module.startswith("voiceauthd."):
            for name in (node.module, *(f"{node.module}.{alias.name}" for alias in node.names)):
                if name in sys.modules:
                    yield sys.modules[name]


def test_the_code_that_hears_is_a_part_of_the_key_and_the_code_that_scores_is_not():
    found, new = set(), {embed_recording}
    while new:
        found |= new
        new = {each for module in new for each in imported(module) if room_of(each) in ("audio", "speech")} - found
    assert len(found) > 6
    assert {module.__name__ for module in found - set(cache_module.CODE)} <= {"voiceauthd.audio.wakeup"}  # of threads
    assert not [module for module in cache_module.CODE if room_of(module) == "scoring"]


def room_of(module):
    return module.__name__.split(".")[1]


def test_the_name_of_a_recording_does_not_matter_to_the_cache(tmp_path, long_recording):
    ear = Ear()
    workers(tmp_path / "cache", ear).hear([Job(long_recording)], lambda *_: None)
    asked = ear.clips
    copy = shutil.copy(long_recording, tmp_path / "copy.wav")
    workers(tmp_path / "cache", ear).hear([Job(copy)], lambda *_: None)
    assert ear.clips == asked


def test_a_torn_file_in_the_cache_is_heard_anew_and_replaced(tmp_path, long_recording):
    ear = Ear()
    first = workers(tmp_path / "cache", ear).hear([Job(long_recording)], lambda *_: None)
    (file,) = kept(tmp_path / "cache")
    whole = file.read_bytes()
    file.write_bytes(whole[:100])
    again = workers(tmp_path / "cache", ear).hear([Job(long_recording)], lambda *_: None)
    assert pack(again[0]) == pack(first[0])
    assert file.read_bytes() == whole


class Quieter:
    """A change to the sound."""

    key = "quieter"

    def __call__(self, samples):
        return samples * np.float32(0.5)


@pytest.fixture(scope="module")
def campplus():
    model = ModelConfig(name="campplus", cache=campplus_cache(), device="cpu")
    return model, load_embedder(model)


def hear_with_helper(campplus, monkeypatch, count=12) -> list[EmbeddedRecording]:
    model, embedder = campplus
    monkeypatch.setattr(embedding_workers, "WORTH_A_HELPER", 2)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: {0, 1})
    files = sorted(VOICES.glob("*.flac"))
    jobs = [Job(files[index % len(files)]) for index in range(count)]
    return EmbeddingWorkers(model, SpeechConfig(), embedder, None).hear(jobs, lambda *_: None)


def test_a_helper_hears_the_same_and_nothing_is_lost_or_mixed_up(campplus, monkeypatch):
    done_there = []
    collect = embedding_workers._Helper.collect

    def counted(self, *, wait):
        for index, data in collect(self, wait=wait):
            done_there.append(index)
            yield index, data

    monkeypatch.setattr(embedding_workers._Helper, "collect", counted)
    # Here work is only taken when the helper cannot take it, so that it is sure to do some.
    monkeypatch.setattr(embedding_workers._Helper, "give", patient(embedding_workers._Helper.give))
    found = hear_with_helper(campplus, monkeypatch)
    alone = RecordingEmbedder(campplus[1], SpeechConfig())
    files = sorted(VOICES.glob("*.flac"))
    assert len(done_there) > 0
    for index, heard in enumerate(found):
        expected = alone.hear(Job(files[index % len(files)]))
        assert [w.start for w in heard.whole.windows] == [w.start for w in expected.whole.windows]
        for one, other in zip(heard.whole.embeddings, expected.whole.embeddings, strict=True):
            assert float(np.dot(one.vector, other.vector)) > 0.99999


def patient(give):
    def waiting(self, jobs, todo):
        if not self._ready and self._alive:
            self._connection.poll(60.0)
        give(self, jobs, todo)

    return waiting


def test_the_work_of_a_helper_that_dies_is_done_here(campplus, monkeypatch):
    monkeypatch.setenv(HELPERS_MODEL, str(campplus[1].model))
    monkeypatch.setattr(embedding_workers, "_help", die_with_work)
    monkeypatch.setattr(embedding_workers._Helper, "give", patient(embedding_workers._Helper.give))
    found = hear_with_helper(campplus, monkeypatch, count=6)
    assert len(found) == 6
    assert all(heard.whole.windows for heard in found)


def test_what_goes_wrong_at_the_helper_is_told_here(campplus, tmp_path):
    model, embedder = campplus
    (tmp_path / "torn.flac").write_bytes(b"fLaC" + bytes(100))
    with embedding_workers._helper(model, SpeechConfig()) as connection:
        helper = embedding_workers._Helper(connection, str(embedder.model))
        assert connection.poll(60.0)
        assert list(helper.collect(wait=False)) == []
        helper.give([Job(tmp_path / "torn.flac", "trials.csv, line 2")], deque([0]))
        with pytest.raises(AudioError, match=r"^trials\.csv, line 2: .*torn\.flac: not audio") as caught:
            list(helper.collect(wait=True))
    assert caught.value.reason == "bad_audio"


def test_a_helper_with_another_model_is_refused(campplus, monkeypatch):
    monkeypatch.setenv(HELPERS_MODEL, "another model")
    monkeypatch.setattr(embedding_workers, "_help", die_with_work)
    monkeypatch.setattr(embedding_workers._Helper, "give", patient(embedding_workers._Helper.give))
    with pytest.raises(ModelError, match="the model changed"):
        hear_with_helper(campplus, monkeypatch, count=6)
