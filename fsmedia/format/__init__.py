"""What lies in a store, as text: keys, layouts, sidecars, settings, policies. Pure: nothing is read or written."""
