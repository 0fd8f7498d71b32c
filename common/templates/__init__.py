"""What every bundle is rendered from: a template per file, completed by a page of facts about the dataset.

``bundle/`` has the files of a bundle, ``shared/`` what several of them include, ``facts/`` a page per dataset.
"""

from common.templates.facts_pages import FACTS, read_facts
from common.templates.rendering import create_bundle, render_bundle

__all__ = ["FACTS", "create_bundle", "read_facts", "render_bundle"]
