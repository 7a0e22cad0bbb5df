"""What kinds of reading are called in a sentence, in French and English."""

from __future__ import annotations

KIND_NAMES = {
    "body-weight": ("poids", "weight"),
    "blood-pressure": ("tension artérielle", "blood pressure"),
    "glucose": ("glycémie", "glucose"),
    "heart-rate": ("fréquence cardiaque", "heart rate"),
    "rr-intervals": ("rythme cardiaque", "heart rhythm"),
    "ecg": ("électrocardiogramme", "electrocardiogram"),
    "oxygen-saturation": ("saturation en oxygène", "oxygen saturation"),
    "temperature": ("température", "temperature"),
    "respiratory-rate": ("fréquence respiratoire", "respiratory rate"),
    "inr": ("INR", "INR"),
    "ketones": ("cétones", "ketones"),
    "symptoms": ("questionnaire", "questionnaire"),
    "implant-report": ("prothèse implantée", "implant"),
}
