"""Injection and recovery: transits and flares of known depth are put into the pixels, the light
curve is measured as always, and what comes out is compared with what went in.

`signals`: what is injected, from a file or drawn; `work`: into which light; `recovery`: how deep it
came out, whether a search finds it, and the folder that keeps all of it apart from real results.
"""

TODO = "todo.sqlite"
TRUTH = "injected.ecsv"
LIGHTCURVES = "lightcurves"
RECOVERED = "recovered.ecsv"
"""What is in the folder of an injection."""
