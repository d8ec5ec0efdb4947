"""A trained model as a web service."""

from twotower.serving.config import Limits, ServiceConfig
from twotower.serving.server import serve

__all__ = ["Limits", "ServiceConfig", "serve"]
