"""The parts of a video, and what a kill leaves of them."""

from unet_edge.batch.video_parts import Part, PartsFolder, delete_finished

IDENTITY = {"video": "clip.mp4"}


def part(first, following):
    return Part([(first, 10 * first)], following and (following, 10 * following), (4, 4), [(1.0,)])


def test_a_run_goes_on_after_its_last_part(tmp_path):
    folder = PartsFolder(tmp_path / "parts", IDENTITY)
    folder.add(part(0, 1))
    again = PartsFolder(tmp_path / "parts", IDENTITY)
    assert (again.frames, again.parts[-1].next, again.is_complete) == (1, (1, 10), False)
    again.add(part(1, None))
    assert PartsFolder(tmp_path / "parts", IDENTITY).is_complete
    assert PartsFolder(tmp_path / "parts", {"video": "other.mp4"}).frames == 0


def test_half_written_files_are_deleted(tmp_path):
    folder = PartsFolder(tmp_path / "parts", IDENTITY)
    folder.pictures.mkdir()
    half = [at / ".000001.png.0123abcd.unet-edge" for at in (folder.path, folder.pictures)]
    for file in half:
        file.write_bytes(b"half")
    PartsFolder(tmp_path / "parts", IDENTITY)
    assert not any(file.exists() for file in half)


def test_what_a_kill_at_the_end_leaves_is_deleted_but_no_other_work(tmp_path):
    path = tmp_path / "parts"
    PartsFolder(path, IDENTITY).add(part(0, 1))
    delete_finished(path, {"video": "other.mp4"})
    assert PartsFolder(path, IDENTITY).frames == 1
    delete_finished(path, IDENTITY)
    assert not path.exists()
    (path / "palette").mkdir(parents=True)  # killed while it was deleted
    delete_finished(path, IDENTITY)
    assert not path.exists()
