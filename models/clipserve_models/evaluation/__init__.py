"""How right a served model is: labelled data in, a report out."""
