"""What runs a model. A backend is chosen by ``backend`` of config.pbtxt."""
