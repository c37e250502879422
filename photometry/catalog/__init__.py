"""Stars: tables of them, the catalogue of a CCD, the stars on a stamp."""
