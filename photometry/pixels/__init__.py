"""What a method gets: the stamp of a target, from a target pixel file or an image cube."""
