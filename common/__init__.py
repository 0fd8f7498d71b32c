"""What the bundles share: datasets, networks, losses, trainers and the pipeline that joins them."""
