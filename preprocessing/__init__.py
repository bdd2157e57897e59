"""Raw brain data of many kinds into the one VoxelStore format."""
