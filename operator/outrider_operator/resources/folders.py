"""What of a cluster a container reads as a folder, and the flag by which its command is told where."""

from dataclasses import dataclass

from outrider_operator.resources.names import Object

# A podTemplate may mount nothing below this folder, and name no volume by this prefix.
FOLDER = "/etc/outrider"
VOLUME_PREFIX = "outrider-"


@dataclass(frozen=True)
class Folder:
    """A Secret or ConfigMap as a folder of its own. Whole: of single files a change would not reach a running pod.

    source: of the volume, as in a pod.
    """

    purpose: str
    flag: str
    source: Object

    @property
    def path(self) -> str:
        return f"{FOLDER}/{self.purpose}"

    @property
    def arg(self) -> str:
        return f"{self.flag}={self.path}"

    @property
    def volume(self) -> Object:
        return {"name": f"{VOLUME_PREFIX}{self.purpose}", **self.source}

    @property
    def mount(self) -> Object:
        return {"name": f"{VOLUME_PREFIX}{self.purpose}", "mountPath": self.path, "readOnly": True}
