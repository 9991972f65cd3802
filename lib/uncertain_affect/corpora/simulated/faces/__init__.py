"""A procedural face: action units, a person and the conditions of a picture in, pixels and landmarks out.

The face is drawn from 68 landmarks. A person (`Identity`) places them at rest; each action unit moves some of
them as the Facial Action Coding System says (Ekman, Friesen and Hager, *FACS Manual*, 2002) and deepens the
furrows it is known by; the head turns in space; and what is drawn are outlines, discs and strokes through the
landmarks so placed, with edges softened by a smoothstep of the distance to them. `landmarks` returns the very
points that `render` draws from.

`traits`: people and conditions. `geometry`: where landmarks lie. `canvas`: shapes and paint. `portrait`: the face
drawn with them. `pictures`: from there to bytes, blurred and noisy.
"""

from uncertain_affect.corpora.simulated.faces.pictures import landmarks, render
from uncertain_affect.corpora.simulated.faces.traits import ACTION_UNITS, HAIR_STYLES, OCCLUSIONS, Identity, Nuisance

__all__ = ["ACTION_UNITS", "HAIR_STYLES", "OCCLUSIONS", "Identity", "Nuisance", "landmarks", "render"]
