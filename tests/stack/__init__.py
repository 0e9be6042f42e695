"""What every deployment of several processes has to do, however it was started."""
