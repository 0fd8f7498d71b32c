"""What the bundles share: datasets, networks, losses, trainers and the pipeline that joins them."""

from common.files.unknown_user import name_unknown_user

name_unknown_user()  # before anything imports PyTorch
