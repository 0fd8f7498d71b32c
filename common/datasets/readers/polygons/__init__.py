"""What annotation tools save (VGG Image Annotator, COCO, labelme), and the class ids that are drawn from it."""
