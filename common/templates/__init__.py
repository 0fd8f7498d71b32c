"""What every bundle is rendered from: a template per file, completed by a page of facts about the dataset.

``bundle/`` has the files of a bundle, ``shared/`` what several of them include, ``facts/`` a page per dataset.
"""

from common.templates.facts_pages import FACTS, complete_facts, read_facts
from common.templates.rendering import bundle_folder, create_bundle, render_bundle, write_bundle

__all__ = [
    "FACTS",
    "bundle_folder",
    "complete_facts",
    "create_bundle",
    "read_facts",
    "render_bundle",
    "write_bundle",
]
