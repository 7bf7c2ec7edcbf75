"""Light curves as stars, and which stars are worth a look: samples for labelling, and scores that disagree."""
