"""The tables of the central database, declared once: schema checks, data checks and the data dictionary read this.

Types are text, int, float, bool and date; ids are pseudonymous text, dates ISO, money integer cents (unit "cents") beside
a `currency` column. An int column with allowed 0 and 1 is a flag that estimators average.
"""

# ruff: noqa: E501  (declarations read best one to a line)

from __future__ import annotations

from .declare import SQL, RowCheck, Table, columns, foreign_keys, in_order

_PEOPLE = "learners.person_id|comparison_units.unit_id"
_YES = "{yes no undeclared}"
_MONEY = "/^[A-Z]{3}$/"
_COUNTRY = "/^([A-Z]{2}|other|unknown)$/"
_MONTH = "/^[0-9]{4}-(0[1-9]|1[0-2])$/"
_PERIOD = "/^[0-9]{4}(Q[1-4])?$/"
_POOLS = (
    "{not_started rejected_margin waitlist presignup external_panel open rejected no_funding withdrew elsewhere "
    "nsw_control cps1 psid1}"
)
_FUNDERS = "{self employer france_travail region cpf opco scholarship none}"
# what is known about a person before anything happens: shared by learners and comparison units
_PERSON = f"""birth_year int? | 1900..2020 | year | year of birth
sex text | {{F M X unknown}} | | sex as declared
country text | {_COUNTRY} | | ISO 3166 two-letter code, or other
region_code text?- | | | labour-market area: FR zone d'emploi or US commuting zone
education text? | {{none cap_bep bac bac2 bac3 bac5}} | | highest diploma at entry, French ladder
education_years int?- | 0..30 | years | years of school
partnered int?- | {{0 1}} | | lives with a partner
status_at_entry text? | {{jobseeker employed student inactive self_employed unknown}} | | labour status at entry
unemp_months int?- | 0..600 | months | months out of work at entry
household_size int?- | 1..20 | persons | persons in the household
children_u14 int?- | 0..15 | persons | children under 14"""

_ALL = [
    Table("programmes", "what is taught, at which price and level", columns(f"""
programme_id text | | | key
name text | | | title
track text | {{tech data design business health other}} | | field
level text | {{free_course certificate bac2 bac3 bac5}} | | level of the diploma
months int? | 0..120 | months | expected duration
list_price_cents int? | 0.. | cents | list price
currency text?- | {_MONEY} | | ISO 4217 code of list_price_cents
country text | {{FR US other}} | | where it is offered
is_apprenticeship bool | | | taught under a work contract
rncp_code text?- | | | French register of diplomas
valid_from date+ | | | first day offered
valid_to date?+ | | | last day offered
"""), ("programme_id",), rows=(in_order("valid_to", "valid_from", "valid_to", "correct valid_from or valid_to"),)),
    Table("learners", "people known to the school, as they were at first contact", columns(f"""
person_id text | | | key, pseudonymous
first_seen date | | | first contact: account, application or event
{_PERSON}
consent_research bool | | | agreed to research use
consent_link bool | | | agreed to record linkage
erased_on date?- | | | erasure asked and done
"""), ("person_id",), rows=(
        in_order("erased_on", "first_seen", "erased_on", "correct first_seen or erased_on"),
        RowCheck("born after first contact", "birth_year", "birth_year > EXTRACT(year FROM first_seen)",
                 "birth_year <= year of first_seen", "people born after their first contact", "correct birth_year (a two-digit "
                 "year read as 20xx is the usual cause)", ("birth_year", "first_seen")),
    )),
    Table("learners_sensitive", "restricted: special-category attributes, with their legal basis; undeclared is not no", columns(f"""
person_id text | | | learners.person_id or comparison_units.unit_id
disability text | {_YES} | | recognised disability
refugee text | {_YES} | | refugee status
qpv text | {_YES} | | lives in a priority district
minimum_income text | {_YES} | | receives the minimum income
ethnicity text?- | {{black hispanic other undeclared}} | | only where the law allows asking
legal_basis text | | | why the data may be held
collected_on date | | | date of the declaration
"""), ("person_id",), foreign_keys(f"person_id>{_PEOPLE}"), sensitive=True),
    Table("applications", "who asked to enter which programme, and what became of it", columns("""
application_id text | | | key
person_id text | | | learner
programme_id text | | | programme
applied_on date | | | date zero of a landmark design
stage text | {signup test admitted rejected withdrew waitlist no_show started} | | last stage reached
decided_on date? | | | date of that stage; required where stage is final and not started
test_score float?- | | points | score of the admission test
cutoff float?- | | points | score needed
randomised int?- | {0 1} | | place given by lot
stratum text?- | | | stratum of the lot
reason_not_started text? | {rejected no_funding withdrew found_job elsewhere unknown} | | required where decided and not started
consent_followup bool | | | may be asked about outcomes
"""), ("application_id",), foreign_keys("person_id>learners.person_id", "programme_id>programmes.programme_id"), (
        in_order("decided_on", "applied_on", "decided_on", "correct applied_on or decided_on"),
        RowCheck("not started without reason", "reason_not_started",
                 "stage IN ('rejected', 'withdrew', 'no_show') AND reason_not_started IS NULL",
                 "reason_not_started where stage is rejected, withdrew or no_show", "applications without it",
                 "fill rejected, no_funding, withdrew, found_job or elsewhere; unknown where nobody knows",
                 ("stage", "reason_not_started")),
        RowCheck("not started without date", "decided_on",
                 "decided_on IS NULL AND (stage IN ('rejected', 'withdrew', 'no_show') "
                 "OR (stage <> 'started' AND reason_not_started IS NOT NULL))",
                 "decided_on where an application is closed and not started", "applications without it",
                 "fill the date of the decision, or the day the school learned of it", ("stage", "decided_on", "reason_not_started")),
        RowCheck("started with reason", "reason_not_started", "stage = 'started' AND reason_not_started IS NOT NULL",
                 "no reason_not_started where stage is started", "started applications with one", "empty it, or correct stage",
                 ("stage", "reason_not_started")),
    )),
    Table("enrolments", "who started what, when, paid by whom", columns(f"""
enrolment_id text | | | key
person_id text | | | learner
programme_id text | | | programme
tier text | {{free subscription paid apprenticeship}} | | fixed at the start; tiers are never pooled
funder text | {_FUNDERS} | | who pays
start date | | | first day
end date?+ | | | last day; missing while it runs
status text? | {{active graduated dropped transferred refunded}} | | state at data_until; missing where not recorded
graduated_on date? | | | day of the diploma
hours float? | 0.. | hours | hours of teaching followed
intent text | {{new_job change promotion business curiosity none}} | | goal as declared at the start
intent_asked_on date? | | | at most 3 days after the start
"""), ("enrolment_id",), foreign_keys("person_id>learners.person_id", "programme_id>programmes.programme_id"), (
        in_order("end", "start", '"end"', "correct start or end"),
        in_order("graduated_on", "start", "graduated_on", "correct start or graduated_on"),
        in_order("intent_asked_on", "intent_asked_on", "start", "ask the goal at the start: a later answer already knows how it went "
               "(set intent to none where it was asked later)", days=3),
    )),
    Table("engagement", "monthly activity inside the product", columns(f"""
person_id text | | | learner
month text | {_MONTH} | YYYY-MM | calendar month
minutes int | 0..44640 | minutes | time spent
lessons int | 0.. | lessons | lessons finished
projects int | 0.. | projects | projects validated
mentor_sessions int | 0.. | sessions | sessions with a mentor
"""), ("person_id", "month"), foreign_keys("person_id>learners.person_id")),
    Table("outcome_events", "career events of any person, with their evidence", columns(f"""
event_id text | | | key
person_id text | | | learner or comparison unit
type text | {{new_job job_change promotion business internship apprenticeship pay_rise}} | | kind of event
occurred_on date | | | when it happened
date_precision text | {{day month quarter}} | | how well the date is known
contract text | {{permanent fixed_ge6m fixed_lt6m agency freelance apprentice unknown}} | | contract
hours_pct float? | 0..150 | % of full time | working time
in_field text | {{yes no unknown}} | | in the field of the programme
employer_id text? | | | pseudonymous
is_school_employer bool | | | the employer is the school
programme_embedded bool | | | a job by construction of the programme (apprenticeship contract)
base_pay_cents int? | 0.. | cents | pay before bonus, per pay_period
pay_period text? | {{month year hour}} | | period of base_pay_cents
currency text?- | {_MONEY} | | ISO 4217 code of base_pay_cents
cirr_code text?- | | | code of the Council on Integrity in Results Reporting
self_credited text | {{yes partly no not_asked}} | | credits the school
source_id text? | | | where it was learned
evidence text | {{contract payslip employer public_profile self_report none}} | | proof held
recorded_on date | | | when the school learned of it
supersedes text?- | | | event_id that this row corrects
"""), ("event_id",), foreign_keys(f"person_id>{_PEOPLE}", "supersedes>outcome_events.event_id"), (
        in_order("recorded_on", "occurred_on", "recorded_on", "correct occurred_on, or enter plans only once they happened"),
        RowCheck("school job not embedded", "programme_embedded", "is_school_employer AND NOT programme_embedded",
                 "programme_embedded where is_school_employer", "jobs at the school counted as outcomes",
                 "set programme_embedded: they are reported apart", ("is_school_employer", "programme_embedded")),
        RowCheck("pay without period", "pay_period", "base_pay_cents IS NOT NULL AND pay_period IS NULL",
                 "pay_period wherever there is base_pay_cents", "pay without it", "fill month, year or hour",
                 ("base_pay_cents", "pay_period")),
        RowCheck("supersedes itself", "supersedes", "supersedes = event_id", "a correction of another event",
                 "events that correct themselves", "name the event that is corrected", ("supersedes", "event_id")),
    )),
    Table("signals", "machine signals of an outcome, by arm and source", columns("""
signal_id text | | | key
person_id text | | | learner or comparison unit
source text | {profile_scrape_consented in_product_prompt coach_note email_reply job_board partner_feed} | | instrument
observed_on date | | | when
predicted_type text | {new_job job_change promotion business internship apprenticeship pay_rise none} | | what it says
score float | 0..1 | share | strength
model_version text | | | model that scored it
arm text | {learner comparison} | | which arm it observes
"""), ("signal_id",), foreign_keys(f"person_id>{_PEOPLE}")),
    Table("survey_waves", "questionnaires sent", columns("""
wave_id text | | | key
instrument_version text | | | questionnaire
mode text | {web phone paper mixed} | | how asked
open date | | | first day
close date+ | | | last day
"""), ("wave_id",), rows=(in_order("close", "open", "close", "correct open or close"),)),
    Table("survey_invites", "who was asked, with which probability, and what they answered", columns("""
wave_id text | | | wave
person_id text | | | learner or comparison unit
arm text | {learner comparison} | | which arm it observes
invited_on date | | | when
inclusion_prob float | | share | probability of being drawn, in (0, 1]
stratum text?- | | | stratum of the draw
reminders int | 0..50 | reminders | sent
responded_on date? | | | missing: no answer
partial bool | | | answered in part
employed int?- | {0 1} | | answer
occurred_on date?- | | | answer: date of the outcome
pay_cents int?- | 0.. | cents | answer: pay
household_income_band text?- | | | answer: band
credit text?- | {yes partly no} | | answer: credits the school
"""), ("wave_id", "person_id"), foreign_keys("wave_id>survey_waves.wave_id", f"person_id>{_PEOPLE}"), (
        RowCheck("inclusion_prob", "inclusion_prob", "inclusion_prob <= 0 OR inclusion_prob > 1",
                 "inclusion_prob in (0, 1]", "probabilities outside it",
                 "give the probability with which the person was drawn (1 for a census), as a share", ("inclusion_prob",)),
        in_order("responded_on", "invited_on", "responded_on", "correct invited_on or responded_on"),
    )),
    Table("audits", "gold labels of a random sample; never overwritten", columns("""
audit_id text | | | key
person_id text | | | learner or comparison unit
arm text | {learner comparison} | | which arm it observes
draw_seed int | | | seed of the draw
inclusion_prob float | | share | probability of being drawn, in (0, 1]
true_outcome text? | {0 1 unverifiable} | | what was found; missing where there was no response
evidence text? | {contract payslip employer public_profile self_report none} | | proof seen
auditor_id text | | | pseudonymous
decided_on date? | | | when
responded bool- | | | the person answered: audits are surveys too
"""), ("audit_id",), foreign_keys(f"person_id>{_PEOPLE}"), (
        RowCheck("inclusion_prob", "inclusion_prob", "inclusion_prob <= 0 OR inclusion_prob > 1",
                 "inclusion_prob in (0, 1]", "probabilities outside it", "give the probability of the draw, as a share",
                 ("inclusion_prob",)),
    )),
    Table("income_panel", "employment and income of a person in a period; one frequency a study", columns(f"""
person_id text | | | learners.person_id or comparison_units.unit_id
period text | {_PERIOD} | YYYYQn or YYYY | calendar quarter or year
employed int | {{0 1}} | | in work in the period
hours_pct float?- | 0..150 | % of full time | working time
earnings_net_cents int | | cents a period | own take-home pay
benefits_cents int?- | | cents a period | benefits
household_net_cents int? | | cents a period | household income
household_uc float?- | 1..10 | consumption units | OECD-modified scale
equiv_net_cents int?- | | cents a period | household_net_cents / household_uc
currency text | {_MONEY} | | ISO 4217 code of the money columns
source text | {{admin payslip survey imputed}} | | where the row comes from
imputed bool | | | filled by a model, or kept although out of range
"""), ("person_id", "period"), foreign_keys(f"person_id>{_PEOPLE}")),
    Table("comparison_units", "people outside the programmes, fixed at their index date; one role a window", columns(f"""
unit_id text | | | key (a person_id where the person is also a learner)
pool text | {_POOLS} | | which pool
index_date date | | | the date zero that stands for a start
index_rule text | | | how index_date was set
weight float?- | 0.. | | sampling weight of an external pool
{_PERSON}
"""), ("unit_id",)),
    Table("labour_market", "unemployment and vacancies by area and quarter", columns("""
area_code text | | | labour-market area
quarter text | /^[0-9]{4}Q[1-4]$/ | YYYYQn | quarter
unemployment_rate float | 0..100 | % | of the labour force
vacancies_index float? | 0.. | index | vacancies
source text | | | producer
"""), ("area_code", "quarter")),
    Table("finance", "revenue and costs by programme and funder, one row a measure", columns(f"""
fiscal_year int | 1990..2200 | year | fiscal year
programme_id text | | | programme, or all
funder text | {{self employer france_travail region cpf opco scholarship none all}} | | who paid a revenue; all for costs
measure text | {{revenue direct_cost mentor_cost marketing_cost marketing_women_cost scholarships guarantee_refunds allocated_overhead}} | | line
amount_cents int | | cents | amount
currency text | {_MONEY} | | ISO 4217 code
allocation_rule text?- | | | how shared costs were split
"""), ("fiscal_year", "programme_id", "funder", "measure")),
    Table("environment", "emissions by scope and category", columns("""
fiscal_year int | 1990..2200 | year | fiscal year
programme_id text?- | | | where it can be told
scope text | {1 2_location 2_market 3} | | GHG Protocol scope
category text | | | source of the emissions
kgco2e float | 0.. | kg CO2e | emissions
activity_value float? | 0.. | activity_unit | activity behind them
activity_unit text? | | | unit of activity_value
factor_source text | | | emission factor
quality text | {measured modelled proxy} | | how well known
"""), ("fiscal_year", "scope", "category", "programme_id")),
    Table("objectives", "goals of the mission, with target and owner", columns("""
objective_id text | | | objective
statutory_text_ref text | | | article of the statutes
indicator text | | | what is counted
unit text | | | unit of target
clock text | | | definition of the date zero and horizon
target float | | unit | goal
year int | 1990..2200 | year | goal for
owner text | | | who answers for it
"""), ("objective_id", "year")),
    Table("definitions", "versions of each definition", columns("""
def_id text | | | definition
version text | | | version
valid_from date+ | | | from when
change_note text | | | what changed
"""), ("def_id", "version")),
    Table("releases", "cells that were published, for linked disclosure control", columns("""
release_id text | | | release
table text | | | published table
cell_key text | | | cell
n int? | 0.. | persons | persons behind it
value float? | | | published value; missing: suppressed
published_on date | | | when
hash text | | | sha256 of the release
"""), ("release_id", "table", "cell_key")),
    Table("company_kpis", "the three company figures beside the mission", columns("""
fiscal_year int | 1990..2200 | year | fiscal year
revenue_cents int? | 0.. | cents | revenue
currency text?- | /^[A-Z]{3}$/ | | ISO 4217 code
employee_satisfaction float? | 0..100 | points | survey score
headcount int? | 0.. | persons | employees at year end
"""), ("fiscal_year",)),
]  # fmt: skip

TABLES: dict[str, Table] = {table.name: table for table in _ALL}
REQUIRED = ("programmes", "learners", "enrolments")
SENSITIVE = tuple(
    column.name
    for table in _ALL
    if table.sensitive
    for column in table.columns
    if column.name not in ("person_id", "legal_basis", "collected_on")
)


def sql_types() -> dict[str, dict[str, str]]:
    """Table -> column -> SQL type: how text files are to be read."""
    return {table.name: {column.name: SQL[column.type] for column in table.columns} for table in _ALL}
