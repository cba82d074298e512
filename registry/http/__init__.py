"""The routes under /artifacts: parts of uploads in, bytes of files out."""
