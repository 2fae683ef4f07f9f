"""`python -m distill.export`: fuse an adapter, quantise, write GGUF and a model card, push."""

from distill import hands_on
from distill.export.config import ExportConfig

__all__ = ["ExportConfig", "run_export"]

__getattr__ = hands_on(__name__, "run_export")
