"""How each objective is carried out on a device, one file each, of the same name as in fedquad/objectives/."""
