# An image with this package as ci/install.sh installs it. Build and run, with data and results outside of it:
#
#   docker build -t task-distill .
#   docker run --rm -v /data:/data -v "$PWD/runs:/runs" task-distill pipeline bundles/drive_segmentation --demo \
#       --output_dir /runs/demo
#
# With a GPU, add --gpus all; with several workers of a data loader, --ipc host.
FROM python:3.11-slim
WORKDIR /opt/task-distill
COPY . .
RUN PIP_NO_CACHE_DIR=1 bash ci/install.sh
ENV PATH=/opt/task-distill/.venv/bin:$PATH TASK_DISTILL_CACHE=/runs/.cache
ENTRYPOINT ["task-distill"]
CMD ["--help"]
