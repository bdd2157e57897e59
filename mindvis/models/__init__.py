"""The networks: masked autoencoder, brain encoder, conditioners, denoiser, first stage."""
