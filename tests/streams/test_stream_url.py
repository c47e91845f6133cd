import pytest

from unet_edge.errors import StreamError
from unet_edge.streams.network import NetworkStream
from unet_edge.streams.open_source import open_source
from unet_edge.streams.stream_url import names_file, shown


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("rtsp://user:secret@camera:8554/a/b", "rtsp://camera:8554/a/b"),
        ("rtsp://user:sec@ret@camera/a", "rtsp://camera/a"),
        ("rtsp://user:se/cret@camera/a", "rtsp://…"),
        ("rtsp://user:se?cret@camera/a", "rtsp://…"),
        ("http://camera/video?user=me&password=secret", "http://camera/video?…"),
        ("http://camera/video?mail=me@example.org&password=secret", "http://…"),
        ("http://camera/video#secret", "http://camera/video"),
        ("rtsp://camera:554/user=me&password=secret&channel=1.sdp", "rtsp://camera:554/…"),
        ("udp://@239.0.0.1:5000", "udp://239.0.0.1:5000"),
    ],
)
def test_names_show_no_password(url, name):
    assert shown(url) == name


def test_files_of_web_servers_are_told_from_live_streams():
    assert names_file("https://host/a/clip.MP4?token=1")
    assert not names_file("http://camera/video.cgi?file=clip.mp4")
    assert not names_file("http://host/live.m3u8")
    assert not names_file("rtsp://camera/clip.mp4")
    assert not names_file("http://[::1/clip.mp4")  # half an IPv6 address
    assert open_source("http://host/clip.mp4").is_live is False
    assert open_source("rtsp://host/clip.mp4").is_live is True


def test_other_schemes_are_refused_without_showing_the_password():
    for make in (open_source, NetworkStream):
        with pytest.raises(StreamError) as caught:
            make("ftp://user:secret@host/clip.mp4")
        assert "ftp://host/clip.mp4" in str(caught.value)
        assert "secret" not in str(caught.value)
