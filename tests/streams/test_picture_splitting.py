"""Where each picture of a stream begins and ends."""

import io

import pytest
from patterns import encoded, pattern
from PIL import Image

from unet_edge.errors import StreamError
from unet_edge.streams.picture_splitting import split_pictures

PICTURE = Image.fromarray(pattern(48, 32))


def with_thumbnail():
    """A JPEG whose EXIF block holds another JPEG, with its own end-of-image marker."""
    thumbnail = encoded(PICTURE.resize((16, 8)), "JPEG")
    plain = encoded(PICTURE, "JPEG")
    block = b"Exif\0\0" + thumbnail
    return plain[:2] + b"\xff\xe1" + (len(block) + 2).to_bytes(2, "big") + block + plain[2:]


PICTURES = {
    "baseline": encoded(PICTURE, "JPEG", quality=95),
    "progressive": encoded(PICTURE, "JPEG", progressive=True),
    "restart markers": encoded(PICTURE, "JPEG", restart_marker_blocks=1),
    "grey": encoded(PICTURE.convert("L"), "JPEG"),
    "thumbnail": with_thumbnail(),
    "comment with markers": encoded(PICTURE, "JPEG", comment=b"\xff\xd9\xff\xd8\xff"),
    "png": encoded(PICTURE, "PNG"),
}


def split(data, piece=None, **options):
    file = io.BytesIO(data)
    return list(split_pictures(lambda most: file.read(min(most, piece or most)), **options))


@pytest.mark.parametrize("piece", [1, 7, 4096, 2**20])
def test_each_picture_is_passed_on_byte_for_byte(piece):
    pictures = list(PICTURES.values())
    found = split(b"".join(pictures), piece)
    assert [picture.data for picture in found] == pictures
    assert not any(picture.problem or picture.is_cut for picture in found)


def test_a_picture_is_given_before_the_next_byte_is_read():
    data = PICTURES["baseline"]
    pieces = iter([data[:100], data[100:]])
    pictures = split_pictures(lambda most: next(pieces))  # a third read would raise StopIteration
    assert next(pictures).data == data


def test_bytes_between_pictures_are_passed_over():
    first, second = PICTURES["baseline"], PICTURES["png"]
    head = b"--frame\r\nContent-Type: image/jpeg\r\n\r\n"
    assert [p.data for p in split(head + first + b"\r\n" + head + second + b"\0\0", 5)] == [
        first,
        second,
    ]


def test_a_truncated_picture_does_not_take_the_next_one_with_it():
    first, second = PICTURES["baseline"], PICTURES["progressive"]
    damaged, fine = split(first[:-200] + second)
    assert damaged.data == first[:-200]
    assert damaged.problem == "the next picture begins before its end"
    assert fine.data == second
    assert not fine.problem


def test_a_damaged_header_does_not_take_the_next_one_with_it():
    first, second = PICTURES["baseline"], PICTURES["grey"]
    found = split(first[:4] + b"\0\3" + first[6:] + second)  # the first segment's length is wrong
    assert found[0].problem
    assert found[-1].data == second


def test_the_end_within_a_picture_is_told():
    first, second = PICTURES["baseline"], PICTURES["png"]
    for cut in (second[:-1], second[:20], first[:-1], first[:3]):
        whole, part = split(first + cut, 64)
        assert whole.data == first
        assert part.is_cut
        assert part.data == cut


def test_memory_is_bounded():
    endless = b"\xff\xd8\xff\xda\0\2" + bytes(10_000)
    with pytest.raises(StreamError, match=r"a picture of more than 5,000 bytes"):
        split(endless, 100, largest=5_000)
    with pytest.raises(StreamError, match="bytes without a JPEG or PNG picture"):
        split(bytes(10_000), 100, largest=5_000)
    with pytest.raises(StreamError, match="more than 5,000 bytes"):
        split(PICTURES["png"][:8] + b"\x7f\xff\xff\xffIDAT" + bytes(9_000), 100, largest=5_000)
