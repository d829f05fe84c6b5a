"""Query hydrators: what a request is understood to ask for, before anything is retrieved."""
