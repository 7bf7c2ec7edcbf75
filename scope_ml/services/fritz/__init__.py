"""Fritz, where astronomers see sources and vote on their classes; any other SkyPortal too."""
