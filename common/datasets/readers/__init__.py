"""Read images, labels, DICOM, NIfTI and volumes."""
