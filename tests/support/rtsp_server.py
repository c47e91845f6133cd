"""An RTSP server of test bars, run by the system's Python, which has GStreamer.

As a program: `rtsp_server.py PORT USER PASSWORD` serves /bars: 320x240 px, 15 frames a second.
Its bars are those of videotestsrc's smpte75, which at their height's middle are grey, yellow, cyan,
green, magenta, red and blue of 191 in 255.
"""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time

SYSTEM_PYTHON = "/usr/bin/python3"
SIZE = 320, 240
PIPELINE = (
    "( videotestsrc is-live=true pattern=smpte75"
    " ! video/x-raw,format=I420,width=320,height=240,framerate=15/1,colorimetry=bt601"
    " ! x264enc tune=zerolatency key-int-max=8 bitrate=2000 ! rtph264pay name=pay0 pt=96 )"
)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def require_rtsp_server():
    """Skip the test where the server's packages are missing; on CI the test fails."""
    from system_programs import require_program

    require_program("gst-inspect-1.0", package="gstreamer1.0-tools")
    wanted = "import gi; gi.require_version('GstRtspServer', '1.0')"
    if subprocess.run([SYSTEM_PYTHON, "-c", wanted], check=False, capture_output=True).returncode:
        require_program("gst-rtsp-server", package="gir1.2-gst-rtsp-server-1.0 and python3-gi")


class RtspServer:
    """The server as a child process; use as a context manager."""

    def __init__(self, port=None, user="", password=""):
        self.port = port or free_port()
        self._login = user, password
        self.url = f"rtsp://127.0.0.1:{self.port}/bars"

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.kill()

    def start(self):
        command = [SYSTEM_PYTHON, __file__, str(self.port), *self._login]
        # The system's Python has its own packages.
        environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
        self._process = subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment
        )
        deadline = time.monotonic() + 60
        while True:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port)):
                return
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError("the RTSP server did not start")
            time.sleep(0.1)

    def kill(self):
        self._process.kill()
        self._process.wait()

    def stall(self):
        """Stop the process as it is, with its connections open."""
        self._process.send_signal(signal.SIGSTOP)

    def go_on(self):
        self._process.send_signal(signal.SIGCONT)


def _serve(port, user, password):
    import gi

    gi.require_version("Gst", "1.0")
    gi.require_version("GstRtspServer", "1.0")
    from gi.repository import GLib, Gst, GstRtspServer

    Gst.init(None)
    server = GstRtspServer.RTSPServer()
    server.set_address("127.0.0.1")
    server.set_service(str(port))
    factory = GstRtspServer.RTSPMediaFactory()
    factory.set_launch(PIPELINE)
    factory.set_shared(True)
    if user:
        auth = GstRtspServer.RTSPAuth()
        token = GstRtspServer.RTSPToken()
        token.set_string("media.factory.role", "viewer")
        auth.add_basic(GstRtspServer.RTSPAuth.make_basic(user, password), token)
        server.set_auth(auth)
        factory.add_role_from_structure(
            Gst.Structure.from_string(
                "viewer, media.factory.access=true, media.factory.construct=true"
            )[0]
        )
    server.get_mount_points().add_factory("/bars", factory)
    server.attach(None)
    GLib.MainLoop().run()


if __name__ == "__main__":
    _serve(int(sys.argv[1]), *[*sys.argv[2:], "", ""][:2])
