"""The config's block `study`: what the files cannot say of a study, for the paper alone.

Invariant: what is not given here is a marked gap in the text, never a guess.
"""

from pydantic import Field

from visionfm.config.base import Strict

ON_THE_PAGE = ("title", "authors", "dates")  # who, what and when: the report names these too


class Study(Strict):
    """What only its authors know of a study, for the paper; `study: {}` knows nothing, and gets one with gaps."""

    title: str | None = Field(None, description="of the paper")
    authors: list[str] = Field([], description="their names, in order")
    objectives: str | None = Field(None, description="what the study shall show")
    setting: str | None = Field(None, description="where the people came from: clinics, screening, centres, countries")
    dates: str | None = Field(None, description="when the images were taken")
    eligibility: str | None = Field(None, description="who could take part, and who could not")
    treatments: str | None = Field(None, description="which treatments people had, and how they were handled")
    reference_standard: str | None = Field(None, description="what the truth is, and how it was found")
    graders: str | None = Field(None, description="who graded: how many, how trained, blinded to what")
    device: str | None = Field(None, description="cameras and scanners, field of view, pupils dilated or not")
    ethics: str | None = Field(None, description="the board's approval, and consent")
    intended_use: str | None = Field(None, description="who shall use the model, for whom, at which point of care")
    sample_size: str | None = Field(None, description="why so many people were included")
    registration: str | None = Field(None, description="where it was registered, by which number; or that it was not")
    protocol: str | None = Field(None, description="where the protocol is; or that there is none")
    involvement: str | None = Field(None, description="how patients and the public took part; or that they did not")
    funding: str | None = Field(None, description="who paid, and for what")
    conflicts: str | None = Field(None, description="interests of the authors that compete")
    availability: str | None = Field(None, description="where data, code and models can be had, and on which terms")
