"""What the gpu target is made of: graphs TensorRT takes, engines, programs, and a roofline."""
